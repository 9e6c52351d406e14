"""The layers, one module each, and their factories with darknet's argument order."""

from minidark.layers.activation_layer import make_activation_layer as make_activation_layer
from minidark.layers.attention import make_attention_layer as make_attention_layer
from minidark.layers.base import CostLayer as CostLayer
from minidark.layers.base import Layer as Layer
from minidark.layers.base import Parameter as Parameter
from minidark.layers.batchnorm_layer import make_batchnorm_layer as make_batchnorm_layer
from minidark.layers.bytepairs import make_bytepairs_layer as make_bytepairs_layer
from minidark.layers.connected import make_connected_layer as make_connected_layer
from minidark.layers.cost import make_cost_layer as make_cost_layer
from minidark.layers.dropout import make_dropout_layer as make_dropout_layer
from minidark.layers.gru import make_gru_layer as make_gru_layer
from minidark.layers.logistic import make_logistic_layer as make_logistic_layer
from minidark.layers.lstm import make_lstm_layer as make_lstm_layer
from minidark.layers.rnn import make_rnn_layer as make_rnn_layer
from minidark.layers.route import make_route_layer as make_route_layer
from minidark.layers.shortcut import make_shortcut_layer as make_shortcut_layer
from minidark.layers.softmax import make_softmax_layer as make_softmax_layer
