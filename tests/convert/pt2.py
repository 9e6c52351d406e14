"""Programs of torch.export, written by hand: for graphs that torch would not write."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np

from minidark.backend import Array

Json = dict[str, Any]
FLOAT, LONG = 7, 5  # dtypes


def tensor(name: str) -> Json:
    return {"as_tensor": {"name": name}}


def argument(value: Any) -> Json:
    """A tensor's name, or names, as "$x", or a plain value."""
    if isinstance(value, str) and value.startswith("$"):
        return tensor(value[1:])
    if isinstance(value, list) and value and isinstance(value[0], str):
        return {"as_tensors": [{"name": name[1:]} for name in value]}
    if isinstance(value, list):
        return {"as_ints": value}
    if value is None:
        return {"as_none": True}
    kind = {bool: "as_bool", int: "as_int", float: "as_float", str: "as_string"}[type(value)]
    return {kind: value}


def node(target: str, outputs: str, **arguments: Any) -> Json:
    """A call of an ATen operator. outputs: names, apart by spaces."""
    names = {key.removesuffix("_") if key == "self_" else key: v for key, v in arguments.items()}
    return {
        "target": f"torch.ops.aten.{target}",
        "inputs": [
            {"name": key, "arg": argument(value), "kind": 1} for key, value in names.items()
        ],
        "outputs": [tensor(name) for name in outputs.split()],
        "metadata": {},
        "name": outputs.split()[0] if outputs else "none",
    }


def meta(*sizes: int, dtype: int = FLOAT) -> Json:
    strides = [int(np.prod(sizes[i + 1 :])) for i in range(len(sizes))]
    return {
        "dtype": dtype,
        "sizes": [{"as_int": n} for n in sizes],
        "strides": [{"as_int": n} for n in strides],
        "storage_offset": {"as_int": 0},
        "layout": 7,
    }


def model(
    nodes: list[Json], inputs: dict[str, Json], outputs: list[str], weights: dict[str, Array]
) -> Json:
    """The graph and its signature. inputs: the arguments of forward; weights by their names."""
    parameters = [
        {"parameter": {"arg": {"name": name}, "parameter_name": name}} for name in weights
    ]
    given = [{"user_input": {"arg": tensor(name)}} for name in inputs]
    return {
        "graph_module": {
            "graph": {"nodes": nodes, "tensor_values": inputs},
            "signature": {
                "input_specs": [*parameters, *given],
                "output_specs": [{"user_output": {"arg": tensor(name)}} for name in outputs],
            },
        },
        "schema_version": {"major": 8, "minor": 20},
        "verifiers": ["TRAINING"],
    }


def config(weights: dict[str, Array]) -> Json:
    """The table of the weights, which are one member each."""
    return {
        name: {"path_name": name, "use_pickle": False, "tensor_meta": meta(*array.shape)}
        for name, array in weights.items()
    }


def archive(graph: Json, table: Json, weights: dict[str, Array]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("a/models/model.json", json.dumps(graph))
        file.writestr("a/data/weights/model_weights_config.json", json.dumps({"config": table}))
        file.writestr("a/data/constants/model_constants_config.json", '{"config": {}}')
        for name, array in weights.items():
            file.writestr(f"a/data/weights/{name}", array.astype("<f4").tobytes())
    return data.getvalue()


def normal(**shapes: tuple[int, ...]) -> dict[str, Array]:
    """Distinct weights."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


LINEAR = normal(w=(2, 3), b=(2,))


def linear(*nodes: Json, output: str = "y", x: Json | None = None) -> bytes:
    """x (4, 1, 3) times w plus b is y, followed by other nodes."""
    first = node("linear.default", "y", input="$x", weight="$w", bias="$b")
    inputs = {"x": meta(4, 1, 3) if x is None else x}
    return archive(model([first, *nodes], inputs, [output], LINEAR), config(LINEAR), LINEAR)


def gru() -> bytes:
    """An embedding, a GRU with states, its last step and a head, in small."""
    weights = normal(e=(3, 2), u=(6, 2), r=(6, 2), bu=(6,), br=(6,), w=(3, 2), b=(3,))
    keys = {"has_biases": True, "num_layers": 1, "dropout": 0.0, "train": False}
    nodes = [
        node("embedding.default", "rows", weight="$e", indices="$x"),
        node("transpose.int", "turned", self_="$rows", dim0=0, dim1=1),
        node("gru.input", "all h", input="$turned", hx="$state", params=["$u", "$r", "$bu", "$br"],
             **keys, bidirectional=False, batch_first=True),
        node("reshape.default", "joined", self_="$all", shape=[-1, 2]),
        node("linear.default", "y", input="$joined", weight="$w", bias="$b"),
        node("log_softmax.int", "logs", self_="$y", dim=1),
    ]  # fmt: skip
    inputs = {"x": meta(4, 2, dtype=LONG), "state": meta(1, 2, 2)}
    return archive(model(nodes, inputs, ["logs", "h"], weights), config(weights), weights)
