"""Keras models, and what each of them is in minidark: the same network, or a refusal.

`python -m tests.convert.keras_models FOLDER` builds them with random weights, saves them in
FOLDER as NAME.keras, NAME.h5 and NAME.weights.h5, and runs those that have a counterpart. This
needs Keras; the table itself does not.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from minidark.backend import Array

INPUTS, HIDDEN, STEPS = 7, 8, 1000
WINDOW = 25  # steps of a model that gives only its last


@dataclass(frozen=True, slots=True)
class Row:
    """A model of the table.

    build(k, la): the model, from keras and keras.layers. refused: the reason; "" if the network
    computes the same. ids: it takes ids, not one-hot rows. logits: the network's outputs are the
    softmax of the model's. last: it gives only the last step. fit: train it first, so that its
    optimizer is in the file.
    """

    build: Callable[[Any, Any], Any]
    refused: str = ""
    ids: bool = False
    logits: bool = False
    last: bool = False
    fit: bool = False


def sequential(*layers: Callable[[Any], Any], ids: bool = False, **shape: Any) -> Any:
    """A builder of a Sequential, whose inputs are one-hot rows or ids."""

    def build(k: Any, la: Any) -> Any:
        own = shape or {"shape": (None,) if ids else (None, INPUTS)}
        inputs = k.Input(dtype="int32" if ids else "float32", **own)
        return k.Sequential([inputs, *(layer(la) for layer in layers)])

    return build


def gru(**keys: Any) -> Callable[[Any], Any]:
    return lambda la: la.GRU(HIDDEN, **{"return_sequences": True, **keys})


def lstm(**keys: Any) -> Callable[[Any], Any]:
    return lambda la: la.LSTM(HIDDEN, **{"return_sequences": True, **keys})


def simple(**keys: Any) -> Callable[[Any], Any]:
    return lambda la: la.SimpleRNN(HIDDEN, **{"return_sequences": True, **keys})


def dense(units: int = INPUTS, activation: Any = None, **keys: Any) -> Callable[[Any], Any]:
    return lambda la: la.Dense(units, activation=activation, **keys)


def embedding(la: Any) -> Any:
    return la.Embedding(INPUTS, 5)


HEAD = dense(activation="softmax")


def functional(wire: Callable[[Any, Any, Any], Any], ids: bool = False) -> Any:
    """A builder of a functional model: wire(keras, layers, x) is its outputs."""

    def build(k: Any, la: Any) -> Any:
        x = k.Input((None,), dtype="int32") if ids else k.Input((None, INPUTS))
        return k.Model(x, wire(k, la, x))

    return build


# --- models with a counterpart -----------------------------------------------


def with_states(k: Any, la: Any) -> Any:
    """An LSTM and a GRU that take and give their states."""
    x, h, c, s = k.Input((None, INPUTS)), *(k.Input((HIDDEN,)) for _ in range(3))
    y, h2, c2 = la.LSTM(HIDDEN, return_sequences=True, return_state=True)(x, initial_state=[h, c])
    y, s2 = la.GRU(HIDDEN, return_sequences=True, return_state=True)(y, initial_state=[s])
    return k.Model([x, h, c, s], [la.Dense(INPUTS, activation="softmax")(y), h2, c2, s2])


def states_of_cells(k: Any, la: Any) -> Any:
    x, h, c = k.Input((None, INPUTS)), *(k.Input((HIDDEN,)) for _ in range(2))
    layer = la.RNN(la.LSTMCell(HIDDEN), return_sequences=True, return_state=True)
    y, *after = layer(x, initial_state=[h, c])
    return k.Model([x, h, c], [la.Dense(INPUTS, activation="softmax")(y), *after])


def states_only_taken(k: Any, la: Any) -> Any:
    x, s = k.Input((None, INPUTS)), k.Input((HIDDEN,))
    y = la.GRU(HIDDEN, return_sequences=True)(x, initial_state=[s])
    return k.Model([x, s], la.Dense(INPUTS, activation="softmax")(y))


def states_taken_by_fixed_steps(k: Any, la: Any) -> Any:
    x, s = k.Input((10, INPUTS)), k.Input((HIDDEN,))
    y = la.GRU(HIDDEN, return_sequences=True)(x, initial_state=[s])
    return k.Model([x, s], la.Dense(INPUTS, activation="softmax")(y))


def nested_functional(k: Any, la: Any) -> Any:
    inner = functional(lambda k, la, x: la.GRU(HIDDEN, return_sequences=True)(x))(k, la)
    return k.Sequential([k.Input((None, INPUTS)), inner, la.Dense(INPUTS, activation="softmax")])


def nested_twice(k: Any, la: Any) -> Any:
    inmost = k.Sequential([la.Dense(6, activation="tanh"), la.BatchNormalization(), la.Dense(6)])
    inner = k.Sequential([lstm()(la), inmost, la.BatchNormalization(), gru()(la)])
    return functional(lambda k, la, x: la.Dense(INPUTS, activation="softmax")(inner(x)))(k, la)


def frozen_within(k: Any, la: Any) -> Any:
    """In the older layout, the arrays of its frozen layers come last."""
    inner = k.Sequential([lstm(trainable=False)(la), la.BatchNormalization(), la.Dense(HIDDEN)])
    return k.Sequential([k.Input((None, INPUTS)), inner, gru()(la), HEAD(la)])


def two_inner(k: Any, la: Any) -> Any:
    one, two = (k.Sequential([gru()(la), la.Dense(INPUTS)]) for _ in range(2))
    return functional(lambda k, la, x: la.Softmax()(two(one(x))))(k, la)


def deferred(k: Any, la: Any) -> Any:
    model = k.Sequential([gru()(la), HEAD(la)])
    model(k.ops.zeros((2, 10, INPUTS)))  # from now on it has this shape
    return model


def in_half_precision(policy: str) -> Callable[[Any, Any], Any]:
    def build(k: Any, la: Any) -> Any:
        return k.Sequential([
            k.Input((None, INPUTS)),
            la.GRU(HIDDEN, return_sequences=True, dtype=policy, recurrent_initializer="zeros"),
            la.Dense(INPUTS, activation="softmax", dtype=policy),
        ])  # fmt: skip

    return build


def last_state(k: Any, la: Any, x: Any) -> Any:
    _, h = la.GRU(HIDDEN, return_sequences=True, return_state=True)(x)
    return la.Dense(INPUTS, activation="softmax")(h)


def last_state_of_lstm(k: Any, la: Any, x: Any) -> Any:
    return la.LSTM(INPUTS, return_state=True)(x)[1]


def operations(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(HIDDEN, return_sequences=True)(k.ops.one_hot(x, INPUTS))
    y = k.ops.relu(la.Dense(6)(y))
    y = k.ops.leaky_relu(la.Dense(6)(y), 0.1)
    y = k.ops.tanh(la.Dense(6)(k.ops.elu(la.Dense(6)(y))))
    return k.ops.softmax(la.Dense(INPUTS)(k.ops.sigmoid(la.Dense(6)(y))), axis=2)


def encoded(k: Any, la: Any, x: Any) -> Any:
    y = la.CategoryEncoding(INPUTS, output_mode="one_hot")(x)
    return la.Dense(INPUTS, activation="softmax")(la.GRU(HIDDEN, return_sequences=True)(y))


def the_last_of_all(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(HIDDEN, return_sequences=True)(x)
    return la.Dense(INPUTS, activation="softmax")(y[:, -1])


def two_outputs(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(HIDDEN, return_sequences=True)(x)
    return [y, la.Dense(INPUTS, activation="softmax")(y)]


RIGHT: dict[str, Row] = {
    "gru": Row(sequential(gru(), HEAD)),
    "gru reset_after=False": Row(sequential(gru(reset_after=False), HEAD)),
    "gru sigmoid": Row(sequential(gru(activation="sigmoid"), HEAD)),
    "gru sigmoid reset_after=False": Row(
        sequential(gru(activation="sigmoid", reset_after=False), HEAD)
    ),
    "gru without biases": Row(sequential(gru(use_bias=False), HEAD)),
    "gru reset_after=False without biases": Row(
        sequential(gru(use_bias=False, reset_after=False), HEAD)
    ),
    "gru with dropout": Row(sequential(gru(dropout=0.2, recurrent_dropout=0.2), HEAD)),
    "lstm": Row(sequential(lstm(), HEAD)),
    "lstm without biases": Row(sequential(lstm(use_bias=False), HEAD)),
    "lstm without unit_forget_bias": Row(sequential(lstm(unit_forget_bias=False), HEAD)),
    "simple rnn": Row(sequential(simple(), HEAD)),
    "simple rnn relu": Row(sequential(simple(activation="relu"), HEAD)),
    "simple rnn sigmoid": Row(sequential(simple(activation="sigmoid"), HEAD)),
    "simple rnn linear": Row(sequential(simple(activation=None), HEAD)),
    "simple rnn without biases": Row(sequential(simple(use_bias=False), HEAD)),
    "embedding gru": Row(sequential(embedding, gru(), HEAD, ids=True), ids=True),
    "embedding lstm lstm": Row(sequential(embedding, lstm(), lstm(), HEAD, ids=True), ids=True),
    "embedding of one step": Row(
        sequential(embedding, gru(), HEAD, ids=True, shape=(1,)), ids=True
    ),
    "three gru": Row(sequential(gru(), gru(), gru(), HEAD)),
    "mixed cells": Row(sequential(gru(), lstm(), simple(), gru(reset_after=False), HEAD)),
    "time distributed": Row(
        sequential(lstm(), lambda la: la.TimeDistributed(la.Dense(INPUTS, activation="softmax")))
    ),
    "time distributed activations": Row(
        sequential(
            lstm(), lambda la: la.TimeDistributed(la.Dense(6)),
            lambda la: la.TimeDistributed(la.Activation("relu")),
            lambda la: la.TimeDistributed(la.BatchNormalization()),
            lambda la: la.TimeDistributed(la.Dropout(0.5)), HEAD,
        )
    ),
    "gru cell": Row(sequential(lambda la: la.RNN(la.GRUCell(8), return_sequences=True), HEAD)),
    "lstm cell": Row(sequential(lambda la: la.RNN(la.LSTMCell(8), return_sequences=True), HEAD)),
    "simple rnn cell": Row(
        sequential(lambda la: la.RNN(la.SimpleRNNCell(8), return_sequences=True), HEAD)
    ),
    "cells": Row(
        sequential(
            lambda la: la.RNN(
                [la.LSTMCell(6), la.GRUCell(5), la.LSTMCell(6)],
                return_sequences=True,
            ),
            HEAD,
        )
    ),
    "activations": Row(
        sequential(
            gru(), dense(6), lambda la: la.Activation("relu"), dense(6, "tanh"),
            dense(6), lambda la: la.ReLU(), dense(6), lambda la: la.ReLU(negative_slope=0.1),
            dense(6), lambda la: la.LeakyReLU(negative_slope=0.01), dense(6, "elu"),
            dense(6), lambda la: la.ELU(), dense(6, "sigmoid"), dense(6, "hard_tanh"), dense(),
            lambda la: la.Activation("softmax"),
        )
    ),
    "an activation after a gru": Row(
        sequential(gru(), lambda la: la.Activation("relu"), lambda la: la.LeakyReLU(0.1), HEAD)
    ),
    "softmax layer": Row(sequential(lstm(), dense(), lambda la: la.Softmax())),
    "linear activation": Row(
        sequential(lstm(), dense(), lambda la: la.Activation("linear"), lambda la: la.Softmax())
    ),
    "batchnorm": Row(sequential(gru(), lambda la: la.BatchNormalization(), HEAD)),
    "batchnorm epsilon": Row(
        sequential(gru(), lambda la: la.BatchNormalization(axis=2, epsilon=0.1), HEAD)
    ),
    "batchnorm without scale": Row(
        sequential(gru(), lambda la: la.BatchNormalization(scale=False), HEAD)
    ),
    "batchnorm without center": Row(
        sequential(lambda la: la.BatchNormalization(center=False), gru(), HEAD)
    ),
    "batchnorm of the last step": Row(
        sequential(gru(return_sequences=False), lambda la: la.BatchNormalization(axis=1), HEAD),
        last=True,
    ),
    "noise": Row(
        sequential(
            lambda la: la.GaussianNoise(0.1), gru(), lambda la: la.Dropout(0.5),
            lambda la: la.SpatialDropout1D(0.5), lambda la: la.GaussianDropout(0.5),
            lambda la: la.AlphaDropout(0.5), lambda la: la.ActivityRegularization(0.1),
            lambda la: la.Identity(), HEAD,
        )
    ),
    "nested functional": Row(nested_functional),
    "nested twice": Row(nested_twice),
    "frozen within": Row(frozen_within),
    "two inner models": Row(two_inner),
    "functional": Row(
        functional(lambda k, la, x: la.Dense(INPUTS, activation="softmax")(gru()(la)(x)))
    ),
    "two outputs": Row(functional(two_outputs)),
    "keras.io": Row(sequential(lstm(return_sequences=False), HEAD), last=True),
    "embedding of the last step": Row(
        sequential(embedding, gru(), gru(return_sequences=False), HEAD, ids=True),
        ids=True,
        last=True,
    ),
    "last state": Row(functional(last_state), last=True),
    "last state of an lstm": Row(functional(last_state_of_lstm), last=True),
    "the last of all": Row(functional(the_last_of_all), last=True),
    "fixed steps of the last": Row(
        sequential(lstm(return_sequences=False), HEAD, shape=(10, INPUTS)), last=True
    ),
    "states": Row(with_states),
    "states of cells": Row(states_of_cells),
    "states only taken": Row(states_only_taken),
    "states taken by fixed steps": Row(states_taken_by_fixed_steps),
    "logits": Row(sequential(embedding, gru(), dense(), ids=True), ids=True, logits=True),
    "no logits": Row(sequential(gru(), dense(5))),
    "logarithms": Row(sequential(gru(), dense(activation="log_softmax")), logits=True),
    "mixed_float16": Row(in_half_precision("mixed_float16")),
    "float16": Row(in_half_precision("float16")),
    "stateful": Row(sequential(gru(stateful=True), HEAD, batch_shape=(1, None, INPUTS))),
    "stateful steps": Row(sequential(lstm(stateful=True), HEAD, batch_shape=(1, 1, INPUTS))),
    "stateful last step": Row(
        sequential(gru(stateful=True, return_sequences=False), HEAD, batch_shape=(1, 1, INPUTS)),
        last=True,
    ),
    "stateful streams": Row(sequential(gru(stateful=True), HEAD, batch_shape=(3, 10, INPUTS))),
    "fixed steps": Row(sequential(gru(), HEAD, shape=(10, INPUTS))),
    "unrolled": Row(sequential(lstm(unroll=True), HEAD, shape=(10, INPUTS))),
    "deferred": Row(deferred),
    "operations": Row(functional(operations, ids=True), ids=True),
    "encoding": Row(functional(encoded, ids=True), ids=True),
    "no recurrent layer": Row(sequential(dense(6, "relu"), HEAD, shape=(INPUTS,))),
    "dense without biases": Row(sequential(gru(), dense(use_bias=False, activation="softmax"))),
    "trained": Row(sequential(gru(), HEAD), fit=True),
}  # fmt: skip


# --- models without ----------------------------------------------------------


def shared(k: Any, la: Any, x: Any) -> Any:
    layer = la.LSTM(INPUTS, return_sequences=True, name="it")
    return la.Softmax()(layer(layer(x)))


def shared_inner(k: Any, la: Any, x: Any) -> Any:
    inner = k.Sequential([la.LSTM(INPUTS, return_sequences=True)], name="it")
    return la.Softmax()(inner(inner(x)))


def shared_between(k: Any, la: Any, x: Any) -> Any:
    """A layer that is also in a model within the model."""
    layer = la.LSTM(INPUTS, return_sequences=True, name="it")
    return la.Softmax()(k.Sequential([layer])(layer(x)))


def residual(k: Any, la: Any, x: Any) -> Any:
    return la.Softmax()(la.Add(name="it")([x, la.LSTM(INPUTS, return_sequences=True)(x)]))


def residual_by_operator(k: Any, la: Any, x: Any) -> Any:
    return la.Softmax()(la.LSTM(INPUTS, return_sequences=True)(x) + x)


def branches(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(INPUTS, return_sequences=True)(x)
    return [la.Softmax(name="a")(y), la.Softmax(name="it")(y)]


def attention(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(INPUTS, return_sequences=True)(x)
    return la.Softmax()(la.Attention(name="it")([y, y]))


def heads(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(INPUTS, return_sequences=True)(x)
    return la.Softmax()(la.MultiHeadAttention(2, 4, name="it")(y, y))


def last_cell(k: Any, la: Any, x: Any) -> Any:
    return la.Dense(INPUTS, name="it")(la.LSTM(HIDDEN, return_state=True)(x)[2])


def decoder(k: Any, la: Any, x: Any) -> Any:
    _, h, c = la.LSTM(HIDDEN, return_state=True)(x)
    y = la.LSTM(HIDDEN, return_sequences=True, name="it")(x, initial_state=[h, c])
    return la.Softmax()(y)


def state_of_cells(k: Any, la: Any, x: Any) -> Any:
    layer = la.RNN([la.GRUCell(HIDDEN), la.GRUCell(HIDDEN)], return_state=True)
    return la.Dense(INPUTS, name="it")(layer(x)[1])


def dropping(k: Any, la: Any, x: Any) -> Any:
    y = la.LSTM(INPUTS, return_sequences=True)(x)
    return la.Softmax()(la.Dropout(0.5, name="it")(y, training=True))


def first_step(k: Any, la: Any, x: Any) -> Any:
    return la.Dense(INPUTS)(la.LSTM(HIDDEN, return_sequences=True)(x)[:, 0])


def scaled(k: Any, la: Any, x: Any) -> Any:
    return la.Softmax()(la.LSTM(INPUTS, return_sequences=True)(x) * 2.0)


def middle_output(k: Any, la: Any) -> Any:
    inner = functional(lambda k, la, x: [gru()(la)(x), dense()(la)(x)])(k, la)
    x = k.Input((None, INPUTS))
    return k.Model(x, la.Softmax()(inner(x)[0]))


def two_inputs(k: Any, la: Any) -> Any:
    x, z = k.Input((None, INPUTS)), k.Input((None, INPUTS))
    both = la.Concatenate(name="it")([x, z])
    return k.Model([x, z], la.Dense(INPUTS)(la.LSTM(HIDDEN, return_sequences=True)(both)))


def own_layer(k: Any, la: Any) -> Any:
    class GRU(la.GRU):  # type: ignore[misc]
        pass

    return k.Sequential([k.Input((None, INPUTS)), GRU(HIDDEN, name="it")])


def own_cell(k: Any, la: Any) -> Any:
    class GRUCell(la.GRUCell):  # type: ignore[misc]
        pass

    layer = la.RNN(GRUCell(HIDDEN), return_sequences=True, name="it")
    return k.Sequential([k.Input((None, INPUTS)), layer])


def own_model(k: Any, la: Any) -> Any:
    class Own(k.Model):  # type: ignore[misc]
        pass

    x = k.Input((None, INPUTS))
    return Own(x, la.Dense(7)(x))


def subclassed(k: Any, la: Any) -> Any:
    class Sub(k.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.lstm = la.LSTM(HIDDEN, return_sequences=True)

        def call(self, x: Any) -> Any:
            return self.lstm(x)

    model = Sub()
    model(k.ops.zeros((1, 2, INPUTS)))
    return model


def subclassed_within(k: Any, la: Any) -> Any:
    return k.Sequential([k.Input((None, INPUTS)), subclassed(k, la), HEAD(la)])


def own_function(k: Any, la: Any) -> Any:
    def double(x: Any) -> Any:
        return x * 2

    return k.Sequential([k.Input((None, INPUTS)), gru()(la), la.Dense(INPUTS, activation=double)])


def float64(k: Any, la: Any) -> Any:
    return k.Sequential([k.Input((None, INPUTS)), la.Dense(INPUTS, dtype="float64", name="it")])


def quantized(k: Any, la: Any) -> Any:
    model = k.Sequential([k.Input((None, INPUTS)), gru()(la), la.Dense(INPUTS, name="it")])
    model.quantize("int8")
    return model


NOT_TAKEN = "cannot be taken over: "
CHAIN_ONLY = f"{NOT_TAKEN}it joins several paths, and minidark reads only chains of Keras layers"
PARTS = "its paths part, and minidark reads only chains of Keras layers"
TWICE = f"{NOT_TAKEN}the model uses it more than once"
ONLY = (
    f"{NOT_TAKEN}minidark reads only GRU, LSTM, SimpleRNN, Embedding, Dense, BatchNormalization "
    "and activations"
)
NORM = f"{NOT_TAKEN}minidark normalizes only over rows, as BatchNormalization does"
NO_MASK = "it leaves out steps; minidark's layers run over all of them"


def named(kind: str, *args: Any, **keys: Any) -> Callable[[Any], Any]:
    return lambda la: getattr(la, kind)(*args, name="it", **keys)


def behind(kind: str, *args: Any, **keys: Any) -> Any:
    """A layer named `it` behind an LSTM."""
    return sequential(lstm(), named(kind, *args, **keys))


REFUSED: dict[str, Row] = {
    "bidirectional": Row(
        sequential(lambda la: la.Bidirectional(lstm()(la), name="it"), HEAD),
        f"Bidirectional 'it' {NOT_TAKEN}it also runs backward; minidark's layers run only forward",
    ),
    "backward": Row(
        sequential(gru(go_backwards=True, name="it"), HEAD),
        f"GRU 'it' {NOT_TAKEN}it runs backward; minidark's layers run only forward",
    ),
    "masking": Row(
        sequential(named("Masking"), gru(), HEAD), f"Masking 'it' {NOT_TAKEN}{NO_MASK}"
    ),
    "mask_zero": Row(
        sequential(named("Embedding", INPUTS, 5, mask_zero=True), gru(), HEAD, ids=True),
        f"Embedding 'it' {NOT_TAKEN}mask_zero=True: {NO_MASK}",
    ),
    "shared": Row(functional(shared), f"LSTM 'it' {TWICE}"),
    "shared model": Row(functional(shared_inner), f"Sequential 'it' {TWICE}"),
    "shared between": Row(functional(shared_between), "it may share its arrays"),
    "residual": Row(functional(residual), f"Add 'it' {CHAIN_ONLY}"),
    "residual by an operator": Row(functional(residual_by_operator), CHAIN_ONLY),
    "two inputs": Row(two_inputs, f"Concatenate 'it' {CHAIN_ONLY}"),
    "branches": Row(
        functional(branches), f"Softmax 'it' {NOT_TAKEN}{PARTS}"
    ),
    "attention": Row(functional(attention), f"Attention 'it' {CHAIN_ONLY}"),
    "heads": Row(functional(heads), f"MultiHeadAttention 'it' {CHAIN_ONLY}"),
    "last cell": Row(
        functional(last_cell),
        f"Dense 'it' {NOT_TAKEN}it reads a state that is not the output of the last step",
    ),
    "state of cells": Row(
        functional(state_of_cells),
        f"Dense 'it' {NOT_TAKEN}it reads a state that is not the output of the last step",
    ),
    "decoder": Row(
        functional(decoder),
        f"LSTM 'it' {NOT_TAKEN}",
    ),
    "dropping": Row(
        functional(dropping),
        f"Dropout 'it' {NOT_TAKEN}a mask, and training=True, have no counterpart",
    ),
    "first step": Row(
        functional(first_step), f"{NOT_TAKEN}minidark reads only the last step, y[:, -1]"
    ),
    "scaled": Row(functional(scaled), ONLY),
    "two outputs within": Row(middle_output, PARTS),
    "lambda": Row(
        behind("Lambda", lambda x: x * 2),
        f"Lambda 'it' {NOT_TAKEN}its Python code would have to run, and minidark runs nothing "
        "from a file",
    ),
    "layer norm": Row(behind("LayerNormalization"), f"LayerNormalization 'it' {NORM}"),
    "unit norm": Row(behind("UnitNormalization"), f"UnitNormalization 'it' {NORM}"),
    "convolution": Row(behind("Conv1D", 4, 3), f"Conv1D 'it' {ONLY}"),
    "convolutional lstm": Row(
        sequential(named("ConvLSTM1D", 2, 3), shape=(None, 5, 2)), f"ConvLSTM1D 'it' {ONLY}"
    ),
    "flatten": Row(
        sequential(lstm(), named("Flatten"), HEAD, shape=(10, INPUTS)), f"Flatten 'it' {ONLY}"
    ),
    "pooling": Row(behind("GlobalAveragePooling1D"), f"GlobalAveragePooling1D 'it' {ONLY}"),
    "repeat": Row(
        sequential(lstm(return_sequences=False), named("RepeatVector", 3), HEAD),
        f"RepeatVector 'it' {ONLY}",
    ),
    "prelu": Row(behind("PReLU", shared_axes=[1]), f"PReLU 'it' {ONLY}"),
    "selu": Row(
        behind("Dense", 3, activation="selu"),
        f"Dense 'it' {NOT_TAKEN}darknet's selu has rounded constants, so its values differ from "
        "the fifth digit on",
    ),
    "gelu": Row(
        behind("Dense", 3, activation="gelu"),
        f"Dense 'it' {NOT_TAKEN}activation 'gelu' has no counterpart",
    ),
    "a function of one's own": Row(own_function, "has no counterpart"),
    "other gates": Row(
        sequential(gru(recurrent_activation="hard_sigmoid", name="it")),
        f"GRU 'it' {NOT_TAKEN}its activations are 'hard_sigmoid' and 'tanh'; minidark has "
        "'sigmoid' and 'tanh' or 'sigmoid'",
    ),
    "relu lstm": Row(
        sequential(lstm(activation="relu", name="it")),
        f"LSTM 'it' {NOT_TAKEN}its activations are 'sigmoid' and 'relu'; minidark has "
        "'sigmoid' and 'tanh'",
    ),
    "softplus simple rnn": Row(
        sequential(simple(activation="softplus", name="it")),
        f"SimpleRNN 'it' {NOT_TAKEN}darknet has no activation 'softplus'",
    ),
    "another leak": Row(
        behind("LeakyReLU", negative_slope=0.3),
        f"LeakyReLU 'it' {NOT_TAKEN}darknet has no negative_slope 0.3",
    ),
    "relu6": Row(
        behind("ReLU", max_value=6),
        f"ReLU 'it' {NOT_TAKEN}darknet's relu has no max_value and no threshold",
    ),
    "elu of another alpha": Row(
        behind("ELU", alpha=2.0), f"ELU 'it' {NOT_TAKEN}darknet's elu has alpha 1, not 2.0"
    ),
    "softmax over time": Row(
        behind("Softmax", axis=1), f"Softmax 'it' {NOT_TAKEN}its axis is 1, and only -1 is read"
    ),
    "batchnorm over time": Row(
        sequential(lstm(), named("BatchNormalization", axis=1), shape=(10, INPUTS)),
        f"BatchNormalization 'it' {NOT_TAKEN}minidark has no renorm, and reads only axis=-1",
    ),
    "time distributed lstm": Row(
        sequential(
            lambda la: la.TimeDistributed(la.LSTM(4), name="it"), shape=(None, 3, INPUTS)
        ),
        f"TimeDistributed 'it' {NOT_TAKEN}minidark reads only a Keras layer of one step",
    ),
    "one's own layer": Row(
        own_layer, f"GRU 'it' {NOT_TAKEN}it is a class of your own, not Keras's"
    ),
    "one's own cell": Row(
        own_cell,
        f"RNN 'it' {NOT_TAKEN}minidark reads only GRUCell, LSTMCell, SimpleRNNCell in it",
    ),
    "one's own model": Row(
        own_model,
        "Own is a class of your own, whose call may do more than its layers; save "
        "keras.Model(model.inputs, model.outputs)",
    ),
    "subclassed": Row(
        subclassed,
        "Sub is a subclassed model: the order of its layers is in its Python code, not in the "
        "file; build it with keras.Sequential or keras.Model(inputs, outputs), or add --cfg CFG "
        "with these layers",
    ),
    "subclassed within": Row(subclassed_within, "it is a class of your own, not Keras's"),
    "float64": Row(float64, "'it' is float64; expected float32"),
    "quantized": Row(quantized, "'it' is int8; expected float32"),
}  # fmt: skip
TABLE = RIGHT | REFUSED


# --- building and running them in Keras ---------------------------------------


def file_name(name: str) -> str:
    return name.replace(" ", "_").replace("'", "").replace("=", "_")


def draw_weights(model: Any, seed: int) -> None:
    """Distinct weights, which are positive where they may be variances."""
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        spread = 0.2 if "recurrent" in variable.path else 0.5  # linear states stay finite
        values = rng.normal(0, spread, variable.shape)
        is_variance = "variance" in variable.path
        variable.assign(np.abs(values) + 0.5 if is_variance else values)


def symbols() -> Array:
    return np.random.default_rng(5).integers(0, INPUTS, STEPS)


def windows(row: Row, fixed: int | None) -> Array:
    """The symbols as windows (N, T), which begin from a zero state."""
    steps = fixed or (WINDOW if row.last else STEPS)
    return symbols().reshape(-1, steps)


def run(keras: Any, model: Any, row: Row) -> Array:
    """The outputs (N, T, O), or (N, O) of the last steps. States are carried by hand: of a model
    that takes and gives them, in two calls; of a stateful one, from call to call."""
    shape, *states = [tensor.shape for tensor in getattr(model, "inputs", ())] or [(None,) * 3]
    fixed = shape[1] if len(shape) > (1 if row.ids else 2) else 1
    is_carried = states and len(model.outputs) > 1
    given = windows(row, None if is_carried else fixed)
    x = given if row.ids else np.eye(INPUTS, dtype=np.float32)[given]
    if not row.ids and len(shape) == 2:
        x = x[:, 0]
    if states:
        carried = [np.zeros((len(x), HIDDEN), np.float32) for _ in states]
        parts = []
        for piece in (x[:, :300], x[:, 300:]) if is_carried else (x,):
            y, *new = map(keras.ops.convert_to_numpy, flat(model([piece, *carried])))
            carried = new or carried
            parts.append(y)
        return np.concatenate(parts, axis=1)
    if shape[0]:
        return run_fixed(keras, model, row, x, shape[0])
    result: Array = keras.ops.convert_to_numpy(flat(model(x))[-1])
    return result


def run_fixed(keras: Any, model: Any, row: Row, x: Array, streams: int) -> Array:
    """Like `run`, of a model with that many streams, in which the windows are the same."""
    parts = []
    for piece in x:
        y = keras.ops.convert_to_numpy(model(np.repeat(piece[None], streams, axis=0)))
        parts.append(y[:1])
    is_carried = any(getattr(layer, "stateful", False) for layer in model.layers)
    return np.concatenate(parts, axis=1 if is_carried and not row.last else 0)


def flat(result: Any) -> list[Any]:
    if not isinstance(result, list | tuple):
        return [result]
    return [one for part in result for one in flat(part)]


def main(folder: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "torch")
    import keras
    import torch

    torch.set_grad_enabled(False)
    torch.set_num_threads(1)
    outputs: dict[str, Array] = {}
    for number, (name, row) in enumerate(TABLE.items()):
        model = row.build(keras, keras.layers)
        if not row.refused:
            draw_weights(model, number)
        if row.fit:
            model.compile("adam", "mse")
            with torch.enable_grad():
                model.fit(np.zeros((2, 3, INPUTS)), np.zeros((2, 3, INPUTS)), verbose=0)
        file = folder / file_name(name)
        model.save(f"{file}.keras")
        model.save_weights(f"{file}.weights.h5")
        model.save(f"{file}.h5")
        if not row.refused:
            outputs[name] = run(keras, model, row)
    np.savez(folder / "outputs.npz", **outputs)  # type: ignore[arg-type]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
