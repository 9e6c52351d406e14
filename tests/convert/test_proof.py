"""What counts as the same: the largest difference over two calls with the state carried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from minidark import MinidarkError, Network
from minidark.backend import Array
from minidark.convert.proof import Proven, Write, drawn_symbols, written
from tests.convert.nets import RECURRENT, folded
from tests.helpers import network

Change = Callable[[list[Array]], list[Array]]


def own(change: Change, carried: bool = True) -> Write:
    """A model that is the network itself, but for what is changed of its outputs."""

    def write(net: Network, calls: Sequence[Array]) -> Proven:
        twin, found = net.twin(1), []
        for x in calls:
            found.append(twin.forward(x))
            if not carried:
                twin.reset_state()
        return b"model", change(found)

    return write


def test_the_network_itself_differs_by_nothing() -> None:
    net = folded(RECURRENT["mixed"])
    same = own(lambda found: found)
    assert written(net, same, drawn_symbols(7)) == (b"model", 0)
    assert written(net, same, np.array([3])) == (b"model", 0)
    assert drawn_symbols(7).shape == (1000,)
    assert set(drawn_symbols(7)) == set(range(7))


def add(amount: float) -> Change:
    def change(found: list[Array]) -> list[Array]:
        found[-1][-1, 0, 0] += amount
        return found

    return change


def test_the_largest_difference_of_the_last_character_is_found() -> None:
    net = folded(RECURRENT["gru"])
    _, difference = written(net, own(add(5e-5)), drawn_symbols(7))
    assert difference == pytest.approx(5e-5, rel=1e-2)


@pytest.mark.parametrize(
    "write",
    [
        own(add(2e-4)),
        own(add(np.nan)),
        own(lambda found: [y[:, :, :-1] for y in found]),
        own(lambda found: found, carried=False),
    ],
    ids=["more than 1e-4", "NaN", "another shape", "a state that is not carried"],
)
def test_what_differs_more_is_an_error(write: Write) -> None:
    with pytest.raises(MinidarkError, match=r"differs from predict by .* and no file is left"):
        written(folded(RECURRENT["gru"]), write, drawn_symbols(7))


def test_outputs_beyond_1_are_compared_as_a_share_of_them() -> None:
    net = network("net inputs=7", "connected output=2 activation=linear", dtype="float32")
    net.parameters()[0].value[...] = 1e6
    _, difference = written(net, own(add(10)), drawn_symbols(7))
    assert difference == pytest.approx(1e-5, rel=0.1)


def test_a_program_that_is_missing_proves_nothing() -> None:
    net = folded(RECURRENT["gru"])
    assert written(net, lambda net, calls: (b"model", []), drawn_symbols(7)) == (b"model", None)


def test_a_network_that_is_not_finite_itself_is_told_first() -> None:
    net = network("net inputs=7", "connected output=2 activation=linear", dtype="float32")
    net.parameters()[0].value[...] = np.nan
    with pytest.raises(
        MinidarkError, match=r"^predict itself gives NaN or infinity over 1,000 cha"
    ):
        written(net, own(lambda found: found), drawn_symbols(7))
