"""The network and what moves it: optimizers, learning rates, the way from a plan to layers."""

from minidark.network.network import Network as Network
