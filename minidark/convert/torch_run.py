"""Runs a torch.export program: its operators, one by one, in a process with torch."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from minidark.backend import Array
from minidark.convert.found import Trial
from minidark.convert.torch_archive import Json
from minidark.convert.torch_axes import FEATURES
from minidark.convert.torch_graph import After, Constant, Place, Rows, Walk, names_in
from minidark.convert.torch_views import LARGEST
from minidark.convert.workers import run_worker
from minidark.errors import WeightsError, bare

WINDOW = 50  # steps of a program of any T that gives only its last output
LONGEST = 600  # seconds
ANY_STREAMS = 64  # streams of a call, if the program takes any number


@dataclass(frozen=True, slots=True)
class Run:
    """What of a program is run, and the axes of its first input.

    time, streams: the axis of the input, or None if it has none. carried: the outputs that are the
    states of the next call, by the inputs; empty if each call begins with zero states.
    """

    walk: Walk
    nodes: Sequence[Json]
    symbols: Rows
    symbols_name: str
    output: Rows
    output_name: str
    time: int | None
    streams: int | None
    carried: Mapping[str, str]

    @property
    def steps(self) -> int | None:
        """T; None if the program takes any."""
        return 1 if self.time is None else self.walk.lengths[self.time]

    @property
    def width(self) -> int | None:
        """S; None if the program takes any."""
        return 1 if self.streams is None else self.walk.lengths[self.streams]


def run_of(walk: Walk, nodes: Sequence[Json], symbols: str, output: str, outputs: list[str]) -> Run:
    """How to run a program whose walk is complete."""
    time = walk.time[0] if walk.time else None
    if walk.time is None:  # no recurrent module: any axis may be that of the time
        time = next(iter(walk.lengths), None)
    streams = next((axis for axis in walk.lengths if axis != time), None)
    carried = {} if walk.result.last_only else _carried(walk, outputs)
    rows, result = walk.symbols, walk.values[output]
    return Run(walk, nodes, rows, symbols, result, output, time, streams, carried)


def _carried(walk: Walk, outputs: Sequence[str]) -> dict[str, str]:
    """The outputs that are the next states, by the inputs; empty unless every state that is given
    is also returned."""
    given: dict[str, dict[int, Place]] = {}
    for state, place in walk.states.items():
        given.setdefault(state.name, {})[state.index or 0] = place
    returned = {_places(walk.values[name]): name for name in outputs}
    places = {name: tuple(own[i] for i in sorted(own)) for name, own in given.items()}
    if any(own not in returned for own in places.values()):
        return {}
    return {name: returned[own] for name, own in places.items()}


def _places(value: Any) -> tuple[Place, ...]:
    if isinstance(value, Rows):
        return (value.state,) if value.state else ()
    return value.places if isinstance(value, After) else ()


def trial_of(run: Run) -> Trial:
    """How to compare the program with minidark's network."""
    steps = None if run.carried else run.steps
    if steps is None and run.walk.result.last_only:
        steps = WINDOW
    return Trial(partial(outputs_of, run), steps)


def outputs_of(run: Run, symbols: Array) -> Array:
    """The outputs (T, S, O) for symbols (T, S); (1, S, O) if the program gives only the last.
    Raises BackendError if torch is not installed, and MinidarkError."""
    walk, calls = run.walk, [*_calls(run, symbols)]
    made = {name for node in run.nodes for output in node["outputs"] for name in names_in(output)}
    read = {
        name for node in run.nodes for given in node["inputs"] for name in names_in(given["arg"])
    }
    names = [name for name in sorted(read - made) if isinstance(walk.values[name], Constant)]
    weights = [walk.values[name] for name in names]
    arrays = [walk.program.weights(value.kind, value.name) for value in weights]
    plan = {
        "nodes": [
            {key: node[key] for key in ("target", "inputs", "outputs")} for node in run.nodes
        ],
        "symbols": run.symbols_name,
        "width": 0 if run.symbols.is_ids else run.symbols.width,
        "constants": names,
        "states": {state.name: _sizes(run, state.name, calls[0]) for state in walk.states},
        "carried": dict(run.carried),
        "output": run.output_name,
    }
    packed = io.BytesIO()
    np.savez(packed, *arrays)
    files = {"plan.json": json.dumps(plan).encode(), "arrays.npz": packed.getvalue()}
    inputs = [_arranged(run, call) for call in calls]
    _, outputs = run_worker("torch_program_worker.py", files, inputs, "plan.json", LONGEST)
    parts = [_rows(run, call, y) for call, y in zip(calls, outputs, strict=True)]
    joined = np.concatenate(parts, axis=0 if run.carried else 1)
    return joined[: len(symbols), : symbols.shape[1]]


def _sizes(run: Run, name: str, call: Array) -> list[int]:
    """The sizes of a state. One that is not fixed is that of the streams."""
    sizes = run.walk.program.graph["tensor_values"][name]["sizes"]
    numbers = [int(size.get("as_int", call.shape[1])) for size in sizes]
    if min(numbers, default=0) < 0 or math.prod(numbers) > LARGEST:
        raise WeightsError(f"{run.walk.program.path}: {bare(name)} is no state of its layers")
    return numbers


def _calls(run: Run, symbols: Array) -> Iterator[Array]:
    """The symbols (T, S) of each call, padded to the T and S that the program takes. With states
    that are carried the calls follow one another in time; without, they are other streams."""
    steps, streams = symbols.shape
    width = run.width or min(streams, ANY_STREAMS)
    length = run.steps or (-(-steps // 2) if run.carried else steps)
    if run.carried:
        parts = [symbols[begin : begin + length] for begin in range(0, steps, length)]
    else:
        parts = [symbols[:, begin : begin + width] for begin in range(0, streams, width)]
    for part in parts:
        missing = length - len(part) if run.steps else 0, width - part.shape[1]
        yield np.pad(part, [(0, missing[0]), (0, missing[1])], mode="edge")


def _arranged(run: Run, call: Array) -> Array:
    """Symbols (T, S) in the axes of the program's input."""
    axes = [axis for axis in run.symbols.axes if axis != (FEATURES,)]
    present = [axis[0] for axis in axes if axis]
    is_turned = run.time is not None and present[-1] == run.time and len(present) > 1
    sizes = [1 if not axis else call.shape[0 if axis[0] == run.time else 1] for axis in axes]
    return np.ascontiguousarray(call.T if is_turned else call).reshape(sizes)


def _rows(run: Run, call: Array, y: Array) -> Array:
    """The outputs of a call as (T, S, O); (1, S, O) if the program gives only the last."""
    parts = [part for axis in run.output.axes for part in axis if part != FEATURES]
    is_turned = run.time is not None and len(parts) > 1 and parts[-1] == run.time
    last = run.walk.result.last_only
    steps, streams = (1 if last else call.shape[0]), call.shape[1]
    if is_turned:
        return y.reshape(streams, steps, run.output.width).swapaxes(0, 1)
    return y.reshape(steps, streams, run.output.width)
