"""The order in which a PyTorch model uses the modules of its state dict.

A state dict lists modules in the order of their registration, which is often, but not always, the
order of use. It does not record what `forward` does between modules. So an order is accepted only
if names, shapes and registration exclude all others:

- Widths must fit: each module reads as many features as the previous one outputs.
- An nn.Embedding comes first. A matrix without biases may be an nn.Embedding or an nn.Linear.
- Of two equal matrices, which are tied, one is the nn.Embedding and the other the last nn.Linear.
- Orders that end in a recurrent module are dropped if others remain, unless the registered order
  ends in one.
- If the registered order does not fit, another order may only have an nn.Linear at its end.
- If several orders remain, numbers in the names decide ("lstm1", "lstm2"; "0.", "1."), provided
  that the modules were registered in that order.
- Two matrices in a row are refused. There must be an activation between them, and a state dict does
  not record it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from pathlib import Path

from minidark.errors import WeightsError, echo

EMBEDDING, LINEAR = "nn.Embedding", "nn.Linear"
MOST_MODULES, MOST_STEPS = 100, 10_000  # limits of the search for orders
NAMES_EMBEDDING = re.compile(r"(?<![A-Za-z])(?i:emb)|(?<=[a-z])Emb")  # not "ensemble"
ENOUGH = 64  # orders to search for; more than one is already ambiguous
GRAPH = "save the model as .pt2 (torch.export) or .onnx"  # which record the graph
WAY_ROUND = (
    f"{GRAPH}, or save its arrays in the order of use, with names that begin with 0., 1. and so on"
)
NO_CHAIN = "its arrays do not form a chain of recurrent layers and nn.Linear"


@dataclass(frozen=True, slots=True)
class Reading:
    """One interpretation of a module's arrays: its kind and sizes."""

    name: str  # with the dot, such as "encoder.lstm."
    kind: str
    inputs: int
    outputs: int
    layers: int = 1  # number of layers of a recurrent module
    is_last: bool = False  # whether it can only be the last module

    def __str__(self) -> str:
        layers = f", {self.layers}" if self.layers > 1 else ""
        return f"{self.kind}({self.inputs}, {self.outputs}{layers}) {echo(self.label)}"

    @property
    def is_recurrent(self) -> bool:
        return self.kind not in (EMBEDDING, LINEAR)

    @property
    def is_cell(self) -> bool:
        return self.kind.endswith("Cell")

    @property
    def is_rnn(self) -> bool:
        return self.kind.startswith("nn.RNN")

    @property
    def label(self) -> str:
        return self.name.rstrip(".") or "weight"


Order = tuple[Reading, ...]


def matrix_readings(name: str, rows: int, columns: int, biased: bool) -> list[Reading]:
    """The interpretations of an array `weight` (rows, columns).

    Without biases it may be an embedding, which has a row for each symbol. It is one if a word of
    its name begins with "emb".
    """
    linear = Reading(name, LINEAR, columns, rows)
    if biased:
        return [linear]
    embedding = Reading(name, EMBEDDING, rows, columns)
    return [embedding] if NAMES_EMBEDDING.search(name) else [embedding, linear]


def order_of_use(
    modules: Sequence[Sequence[Reading]], path: Path | str, is_registered: bool = True
) -> Order:
    """The only order that uses each module once.

    modules: the readings of each module, in registration order. is_registered: False if the
    registration order is lost. Raises WeightsError if no order fits, or more than one.
    """
    search = _Search(modules, path)
    orders = search.orders()
    registered = [order for order in orders if is_registered and search.is_registered(order)]
    closed = [order for order in orders if not order[-1].is_recurrent]
    usual = closed if closed and (not registered or {*registered} & {*closed}) else orders
    if not usual:
        raise WeightsError(f"{path}: {NO_CHAIN}")
    if len(usual) > 1:
        numbered = [order for order in search.orders(by_names=True) if order in usual]
        if len(numbered) != 1 or numbered[0] not in registered:
            for order in registered:
                _check_apart(order, path)
            raise _doubt(numbered if len(numbered) > 1 else usual, path)
        usual = numbered
    (order,) = usual
    if order not in registered and any(reading.kind == LINEAR for reading in order[:-1]):
        raise WeightsError(  # the nn.Linear may also be a second head beside the last module
            f"{path}: its modules do not fit together in the order of the file, and the position "
            f"of an nn.Linear is unclear; {WAY_ROUND}"
        )
    _check_apart(order, path)
    return order


def _check_apart(order: Order, path: Path | str) -> None:
    for one, following in pairwise(order):
        if not (one.is_recurrent or following.is_recurrent):
            raise WeightsError(
                f"{path}: {echo(one.label)} and {echo(following.label)} are two matrices in a row; "
                f"a state dict does not record the activation between them; {GRAPH}"
            )


class _Search:
    """A search for the orders in which the modules' widths fit."""

    def __init__(self, modules: Sequence[Sequence[Reading]], path: Path | str):
        if len(modules) > MOST_MODULES:
            raise WeightsError(f"{path}: {len(modules)} modules; more than {MOST_MODULES}")
        self.modules, self.path = modules, path
        self.names = [readings[0].name for readings in modules]
        self.steps = 0
        self.before: list[set[int]] = []

    def orders(self, by_names: bool = False) -> list[Order]:
        """Up to ENOUGH orders. If the registered order fits, it comes first. by_names: only orders
        that agree with the numbers in the names."""
        self.steps = 0
        self.before = [
            {j for j, other in enumerate(self.names) if by_names and _is_numbered(other, name)}
            for name in self.names
        ]
        return list(islice(self._continued((), frozenset(range(len(self.names)))), ENOUGH))

    def is_registered(self, order: Order) -> bool:
        return [reading.name for reading in order] == self.names

    def _continued(self, order: Order, left: frozenset[int]) -> Iterator[Order]:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise WeightsError(f"{self.path}: its modules fit in too many ways; {WAY_ROUND}")
        if not left:
            yield order
        for i in sorted(left):
            for reading in self.modules[i]:
                if reading.is_last and len(left) > 1:
                    continue
                if not self.before[i] & left and _follows(order, reading):
                    yield from self._continued((*order, reading), left - {i})


def _follows(order: Order, reading: Reading) -> bool:
    if not order:
        return True
    return reading.kind != EMBEDDING and reading.inputs == order[-1].outputs


def _is_numbered(a: str, b: str) -> bool:
    """Whether numbers in the names put a before b, such as "lstm1." and "lstm2."."""
    for x, y in zip(*(re.findall(r"[0-9]+|[^0-9]+", name) for name in (a, b)), strict=False):
        if x != y:
            return (x + y).isdigit() and int(x) < int(y)
    return False


def _doubt(orders: Sequence[Order], path: Path | str) -> WeightsError:
    """An error that names the first difference between the first two orders."""
    one, other = next((a, b) for a, b in zip(*orders[:2], strict=True) if a != b)
    if one.name == other.name:
        return WeightsError(
            f"{path}: {echo(one.label)} may be {one.kind} or {other.kind}, with rows and columns "
            f"swapped, and a state dict does not record which; {GRAPH}, or, if it is an embedding, "
            "name it embedding.weight"
        )
    return WeightsError(
        f"{path}: {echo(one.label)} and {echo(other.label)} fit in more than one order, and a "
        f"state dict does not record the order of use; {WAY_ROUND}"
    )
