"""Reads a program of torch.export, `.pt2`, which records the graph, so that nothing is assumed.

The reader follows the graph from the outputs' side, node by node. Every operator on the way has a
handler in `torch_ops` or `torch_views`; any other refuses the file. The same operators are then run
by torch itself in a separate process, from minidark's reading of the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from minidark.convert import torch_ops, torch_views
from minidark.convert.found import Found, whole
from minidark.convert.torch_archive import Json, open_program
from minidark.convert.torch_axes import FEATURES
from minidark.convert.torch_graph import (
    ATEN,
    JOINS,
    Node,
    Rows,
    Walk,
    argument,
    begin,
    live_nodes,
    names_in,
)
from minidark.convert.torch_run import Run, run_of, trial_of
from minidark.errors import WeightsError, echo
from minidark.files.archives import MALFORMED
from minidark.files.zips import DAMAGED

HANDLERS = torch_ops.HANDLERS | torch_views.HANDLERS
FORM = "program of torch.export.save"


def read(path: Path | str) -> Found:
    """Read the layers and arrays of a program. Raises WeightsError."""
    return read_program(whole(path), path)


def read_program(data: bytes, path: Path | str) -> Found:
    """Like `read`, from a file's bytes."""
    program = open_program(data, path)
    walk = Walk(program, Found.begin(path))
    try:
        run = _walk(walk)
    except WeightsError:
        raise
    except (*MALFORMED, *DAMAGED) as error:
        raise WeightsError(f"{path}: not a {FORM}, or damaged") from error
    walk.result.end_in_softmax()
    walk.result.trial = trial_of(run)
    return walk.result


def _walk(walk: Walk) -> Run:
    """Follow the graph; the layers are then in the walk's result."""
    path, graph = walk.program.path, walk.program.graph
    outputs: list[str] = []
    for spec in walk.program.signature["output_specs"]:
        ((kind, content),) = spec.items()
        if kind != "user_output":
            raise WeightsError(f"{path}: it changes its buffers or inputs ({echo(kind)})")
        outputs += names_in(content["arg"])
    symbols = begin(walk)
    nodes = live_nodes(graph, {*outputs}, walk.program)
    for node in nodes:
        _visit(walk, node)
    if not walk.result.names:
        raise WeightsError(f"{path}: it has no layers")
    last = [n for n in outputs if _is_last(walk, walk.values[n])]
    if not last:
        raise WeightsError(f"{path}: none of its outputs is that of the last layer; {JOINS}")
    rows = walk.values[last[0]]
    if rows.axes[-1:] != ((FEATURES,),) and rows.width != 1:
        raise WeightsError(f"{path}: its output's last axis is not that of the features")
    _check_axes(walk, rows)
    return run_of(walk, nodes, symbols, last[0], outputs)


def _is_last(walk: Walk, value: Any) -> bool:
    return isinstance(value, Rows) and value.stage == walk.stage


def _check_axes(walk: Walk, rows: Rows) -> None:
    """Axes of the input other than that of the time are streams, of which there may be one."""
    streams = {*walk.lengths} - {*(walk.time or ())}
    if walk.time is None:
        streams = {*[*walk.lengths][1:]}
    if len(streams) > 1:
        raise WeightsError(
            f"{walk.program.path}: its input has {len(walk.lengths)} axes beside that of the "
            "features; expected time and streams"
        )
    lost = streams - {part for axis in rows.axes for part in axis}
    if lost:
        raise WeightsError(f"{walk.program.path}: its output has no axis of streams")


def _visit(walk: Walk, entry: Json) -> None:
    """Handle one node and enter its outputs among the values."""
    target = str(entry["target"])
    arguments = {given["name"]: argument(given["arg"], walk.values) for given in entry["inputs"]}
    node = Node(target.removeprefix(ATEN), str(entry["name"]), arguments)
    is_known = target.startswith(ATEN) or target == "_operator.mul"
    handler = HANDLERS.get(node.target) if is_known else None
    values = (handler or torch_ops.unsupported)(walk, node)
    names = [name for output in entry["outputs"] for name in names_in(output)]
    walk.values |= dict(zip(names, values, strict=False))
