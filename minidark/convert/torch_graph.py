"""The walk along the graph of a torch.export program: its nodes, and the values between them.

A tensor is known by what minidark needs of it: the rows that run through the network with their
axes, constants, zeros, states that are given, and states that a recurrent module returns.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from minidark.backend import Array
from minidark.convert.found import Found
from minidark.convert.torch_archive import DTYPES, INTEGERS, NARROW, Json, Program
from minidark.convert.torch_axes import FEATURES, MOST_AXES, Axes, Axis, Lengths
from minidark.errors import WeightsError, bare, echo

MOST_NODES = 20_000
LARGEST = 1 << 18  # rows of a call
MOST_LIVE = 1000  # nodes that the outputs depend on; a usual network has fewer than 50
ATEN = "torch.ops.aten."
IN_PLACE = re.compile(r"_\.[A-Za-z]")  # such as relu_.default
ABSENT = {"as_none", "as_device", "as_layout", "as_memory_format"}
JOINS = "the model is no chain: it joins two paths, as a residual connection does"
PARTS = "the model is no chain: its paths part"
CHANGES = "it changes a tensor in place, such as a state that the module keeps in a buffer"
NO_ROWS = "its input is not what comes before it"
DECOMPOSED = "; if the program was saved after run_decompositions(), save it before"


@dataclass(frozen=True, slots=True)
class Rows:
    """What runs through the network. stage: the number of steps before it, to find parted paths.
    is_ids: symbols instead of floats. state: its place, if it is also the new state of a cell."""

    axes: Axes
    stage: int
    width: int
    is_ids: bool = False
    state: Place | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """Which state: of the module of this number, and 0 for h or 1 for c."""

    module: int
    part: int


@dataclass(frozen=True, slots=True)
class Constant:
    """A weight. is_plain: False after a view, which leaves only its being zero of interest."""

    kind: str
    name: str
    is_transposed: bool = False
    is_plain: bool = True


@dataclass(frozen=True, slots=True)
class Zeros:
    """A tensor of zeros."""


@dataclass(frozen=True, slots=True)
class Given:
    """An argument of forward that is a state, or its entry `index` along the first axis."""

    name: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class After:
    """States that recurrent modules return, (L, S, H) of one module or stacked ones of cells."""

    places: tuple[Place, ...]
    axes: Axes
    layers: int
    width: int


@dataclass(frozen=True, slots=True)
class Node:
    """One call in a graph. arguments: values by name."""

    target: str  # such as "gru.input"
    name: str
    arguments: Mapping[str, Any]


@dataclass(slots=True)
class Walk:
    """The state of a walk: values by name, and the layers found so far."""

    program: Program
    result: Found
    values: dict[str, Any] = field(default_factory=dict)
    lengths: dict[int, int | None] = field(default_factory=dict)  # of the input's axes
    symbols: Rows = field(default_factory=lambda: Rows((), 0, 0))  # the first input
    stage: int = 0
    recurrent_stage: int = 0  # the stage behind the last recurrent module
    time: Axis | None = None  # the axis along which recurrent modules run; () if it has length 1
    modules: int = 0  # recurrent ones
    used: set[Constant] = field(default_factory=set)  # weights of recurrent modules
    states: dict[Given, Place] = field(default_factory=dict)
    zeros: int = 0  # numbers in tensors of zeros
    has_biases: bool = False  # whether the last [connected] has its biases

    def lengths_of(self, rows: Rows | After) -> Lengths:
        return {**self.lengths, FEATURES: rows.width}

    def refused(self, node: Node, why: str) -> WeightsError:
        kind = bare(node.target.partition(".")[0])
        name = bare(node.name) if node.name.startswith(kind) else f"{bare(node.name)} ({kind})"
        why += DECOMPOSED if self.program.is_decomposed else ""
        return WeightsError(f"{self.program.path}: {name} cannot be converted: {why}")

    def unknown(self, node: Node, why: str = "it has no counterpart in minidark") -> WeightsError:
        if sum(isinstance(value, Rows) for value in flat(node.arguments.values())) > 1:
            why = JOINS
        return self.refused(node, why)

    def current(self, node: Node, value: Any) -> Rows:
        """The rows that a layer reads, which must be the newest."""
        if not isinstance(value, Rows):
            raise self.refused(node, NO_ROWS)
        if value.stage != self.stage:
            raise self.refused(node, PARTS)
        return value

    def features(self, node: Node, value: Any) -> Rows:
        """Likewise, of rows of floats whose last axis is that of the features."""
        rows = self.current(node, value)
        if rows.is_ids or not rows.axes or rows.axes[-1] != (FEATURES,):
            raise self.refused(node, "its input's last axis is not that of the features")
        if self.result.logarithms:
            raise self.refused(node, "it reads the output of log_softmax")
        return rows

    def step(self, rows: Rows, **changes: Any) -> Rows:
        """The rows after one more layer."""
        self.stage += 1
        return replace(rows, stage=self.stage, state=None, **changes)

    def array(self, node: Node, value: Any, axes: int) -> Array:
        """A weight with this number of axes."""
        if not isinstance(value, Constant) or not value.is_plain:
            raise self.refused(node, "its weights are no parameters")
        array = self.program.weights(value.kind, value.name)
        if array.ndim != axes:
            raise self.refused(node, f"{bare(value.name)} has not {axes} axes")
        return array.T if value.is_transposed else array


def flat(values: Any) -> Iterator[Any]:
    """Values, and those in lists among them."""
    for value in values:
        if isinstance(value, list):
            yield from value
        else:
            yield value


# --- the graph --------------------------------------------------------------------------------


def argument(value: Json, values: Mapping[str, Any]) -> Any:
    """The value of an argument; a tensor by its name in `values`."""
    ((kind, content),) = value.items()
    if kind in ABSENT:
        return None
    if kind == "as_tensor":
        return values[content["name"]]
    if kind in ("as_tensors", "as_sym_ints", "as_optional_tensors"):
        one = {"as_tensors": "as_tensor", "as_sym_ints": "as_sym_int"}.get(kind)
        return [argument({one: item} if one else item, values) for item in content]
    if kind == "as_sym_int":
        return values[content["as_name"]] if "as_name" in content else int(content["as_int"])
    if kind == "as_optional_tensor":
        return argument(content, values)
    return content


def names_in(value: Json) -> Iterator[str]:
    """The names of the tensors and sizes in an argument."""
    ((kind, content),) = value.items()
    if kind in ("as_tensor", "as_sym_int", "as_optional_tensor"):
        entries = [content]
    elif kind in ("as_tensors", "as_sym_ints", "as_optional_tensors", "as_nested_tensors"):
        entries = content
    else:
        return
    for entry in entries:
        if isinstance(entry, list):
            yield from (inner["name"] for inner in entry)
        elif "as_tensor" in entry:
            yield entry["as_tensor"]["name"]
        elif name := entry.get("name") or entry.get("as_name"):
            yield name


def live_nodes(graph: Json, wanted: set[str], program: Program) -> list[Json]:
    """The nodes on which the wanted values depend, in order. A node that changes its input in place
    always counts: what reads the input later depends on it without naming it."""
    nodes = graph["nodes"]
    if len(nodes) > MOST_NODES:
        raise WeightsError(f"{program.path}: more than {MOST_NODES:,} nodes")
    live = []
    for node in reversed(nodes):
        outputs = {name for output in node["outputs"] for name in names_in(output)}
        if outputs & wanted or IN_PLACE.search(node["target"]):
            live.append(node)
            wanted |= {name for given in node["inputs"] for name in names_in(given["arg"])}
    if len(live) > MOST_LIVE:
        raise WeightsError(f"{program.path}: more than {MOST_LIVE:,} operators")
    return live[::-1]


def begin(walk: Walk) -> str:
    """Enter the program's inputs among the values. Returns the name of the symbols."""
    program, symbols = walk.program, ""
    for spec in program.signature["input_specs"]:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            name = next(names_in(content["arg"]), "")
            if symbols or not name:
                walk.values[name] = Given(name)
                continue
            symbols = name
            walk.symbols = _symbols(walk, program.graph["tensor_values"][name])
            walk.values[name] = walk.symbols
        elif kind in program.folders:
            name = content["arg"]["name"]
            walk.values[name] = Constant(kind, content[f"{kind}_name"])
    if not symbols:
        raise WeightsError(f"{program.path}: it takes no tensor")
    return symbols


def _symbols(walk: Walk, meta: Json) -> Rows:
    """The first input: ids, or rows whose last axis is that of the features."""
    sizes = [size.get("as_int") for size in meta["sizes"]]
    dtype, path = meta["dtype"], walk.program.path
    if len(sizes) > MOST_AXES or not sizes:
        raise WeightsError(f"{path}: its first input has {len(sizes)} axes")
    if dtype in INTEGERS:
        width, is_ids = 0, True
    elif dtype in DTYPES and sizes[-1] is not None:
        width, is_ids = int(sizes.pop()), False
    else:
        kind = NARROW.get(dtype, f"of dtype {echo(dtype)}")
        raise WeightsError(f"{path}: its first input is {kind}; expected ids, or rows of float32")
    if any(n is not None and n < 1 for n in sizes) or math.prod(filter(None, sizes)) > LARGEST:
        raise WeightsError(
            f"{path}: its first input is {echo(sizes)}; expected at most {LARGEST:,} rows"
        )
    walk.lengths = {i: None if n is None else int(n) for i, n in enumerate(sizes) if n != 1}
    axes: Axes = tuple((i,) if i in walk.lengths else () for i in range(len(sizes)))
    return Rows(axes if is_ids else (*axes, (FEATURES,)), 0, width, is_ids)
