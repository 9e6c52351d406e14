"""Buffers that are given out again, and never while somebody can still see them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from minidark.backend import Array, memory

SHAPE = (300, 217)  # of no layer's size


def test_a_buffer_that_nobody_refers_to_is_given_out_again() -> None:
    array = memory.empty(SHAPE)
    address = array.__array_interface__["data"]
    del array
    assert memory.empty(SHAPE).__array_interface__["data"] == address


def test_a_buffer_begins_at_a_line_of_the_cache() -> None:
    memory.release()
    arrays = [memory.empty((rows, SHAPE[1])) for rows in range(SHAPE[0], 4000, 97)]
    assert {array.__array_interface__["data"][0] % 64 for array in arrays} == {0}


VIEWS: dict[str, Callable[[Array], Array]] = {
    "itself": lambda array: array,
    "row": lambda array: array[1],
    "reshaped": lambda array: array.reshape(-1),
    "transposed": lambda array: array.T,
    "as bytes": lambda array: array.view(np.uint8),
}


@pytest.mark.parametrize("view", VIEWS)
def test_a_buffer_is_kept_from_others_while_a_view_of_it_lives(view: str) -> None:
    array = memory.empty(SHAPE)
    array[...] = 7
    kept = VIEWS[view](array)
    wanted = kept.copy()
    del array
    others = [memory.zeros(SHAPE) for _ in range(3)]
    np.testing.assert_array_equal(kept, wanted)
    assert len({other.__array_interface__["data"] for other in others}) == 3


def test_release_gives_back_what_nobody_refers_to() -> None:
    kept = memory.zeros(SHAPE)
    memory.release()
    assert not memory._buffers
    kept[...] = 3
    assert not memory.zeros(SHAPE).any(), "a kept buffer was given out"
    np.testing.assert_array_equal(kept, np.full(SHAPE, 3))


def test_a_buffer_serves_for_less_but_not_for_much_less() -> None:
    memory.release()
    array = memory.empty(SHAPE)
    address = array.__array_interface__["data"]
    del array
    part = memory.empty((SHAPE[0], SHAPE[1] // 2 + 2))  # half of the rounded size
    assert part.__array_interface__["data"] == address
    assert memory.empty((SHAPE[0], SHAPE[1] // 2 + 2)).__array_interface__["data"] != address
    del part
    assert memory.empty((SHAPE[0], SHAPE[1] // 2 - 1)).__array_interface__["data"] != address


def test_a_buffer_serves_for_half_of_what_it_was_made_for() -> None:
    """Also if both sizes were rounded up, one more than the other."""
    memory.release()
    address = memory.empty((2500, 256)).__array_interface__["data"]
    assert memory.empty((2500, 128)).__array_interface__["data"] == address


def test_other_sizes_and_dtypes_get_what_they_ask_for() -> None:
    for shape, dtype in (((3,), "float32"), (SHAPE, "float64"), ((0, 5), "float32")):
        array = memory.zeros(shape, dtype)
        assert array.shape == shape
        assert array.dtype == dtype
        assert not array.any()


def test_buffers_of_sizes_no_longer_asked_for_are_given_back() -> None:
    memory.release()
    memory.empty((130, 130))
    size = 80 * 1024  # four sizes between powers of two
    assert 130 * 130 * 4 < size < 2 * 130 * 130 * 4
    assert size in memory._buffers
    for _ in range(2 * memory.IDLE):
        memory.empty(SHAPE)
    assert size not in memory._buffers
