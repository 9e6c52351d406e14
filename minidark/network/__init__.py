"""The network and its training: optimizers, learning rates, and building layers from a plan."""

from minidark.network.network import Network as Network
