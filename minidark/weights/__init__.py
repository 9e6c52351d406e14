"""Weight files: darknet's, arrays by name, and the record of what a file was trained with."""

from minidark.weights.darknet import load_weights as load_weights
from minidark.weights.darknet import save_weights as save_weights
