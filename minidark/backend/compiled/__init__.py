"""Kernels compiled by numba (the extra `fast`), in float32, for any number of processor cores.

The functions have the names and signatures of `numpy_kernels`; some are numpy's own, where compiled
code is not faster. In addition there are cells over whole sequences, which layers without batch
norm use. Importing this package imports numba. The first call of a kernel compiles it and stores
the result on disk.
"""

import functools
from collections.abc import Iterable
from inspect import signature
from types import ModuleType
from typing import Any

from minidark.backend.compiled import attention, gru, kernel, lstm, matrix_unit, rnn, tile
from minidark.backend.compiled.activations import activate as activate
from minidark.backend.compiled.activations import slope as slope
from minidark.backend.compiled.attention import attend as attend
from minidark.backend.compiled.attention import attend_backward as attend_backward
from minidark.backend.compiled.attention import attend_step as attend_step
from minidark.backend.compiled.drawing import draw as draw
from minidark.backend.compiled.gru import gru_reset_after_sequence as gru_reset_after_sequence
from minidark.backend.compiled.gru import (
    gru_reset_after_sequence_backward as gru_reset_after_sequence_backward,
)
from minidark.backend.compiled.gru import gru_sequence as gru_sequence
from minidark.backend.compiled.gru import gru_sequence_backward as gru_sequence_backward
from minidark.backend.compiled.kernel import HALF as HALF
from minidark.backend.compiled.lstm import lstm_sequence as lstm_sequence
from minidark.backend.compiled.lstm import lstm_sequence_backward as lstm_sequence_backward
from minidark.backend.compiled.optimizers import adam_step as adam_step
from minidark.backend.compiled.optimizers import roll as roll
from minidark.backend.compiled.optimizers import sgd_step as sgd_step
from minidark.backend.compiled.optimizers import sum_of_squares as sum_of_squares
from minidark.backend.compiled.products import gemm_nn as gemm_nn
from minidark.backend.compiled.products import gemm_nt as gemm_nt
from minidark.backend.compiled.products import gemm_tn as gemm_tn
from minidark.backend.compiled.rnn import elman_sequence as elman_sequence
from minidark.backend.compiled.rnn import rnn_sequence as rnn_sequence
from minidark.backend.compiled.rnn import rnn_sequence_backward as rnn_sequence_backward
from minidark.backend.compiled.rows import column_sums as column_sums
from minidark.backend.compiled.rows import cross_entropy as cross_entropy
from minidark.backend.compiled.rows import gather as gather
from minidark.backend.compiled.rows import scatter_add as scatter_add
from minidark.backend.compiled.rows import softmax as softmax
from minidark.backend.compiled.steps import AffineStep as AffineStep
from minidark.backend.compiled.steps import ElmanStep as ElmanStep
from minidark.backend.compiled.steps import GruResetAfterStep as GruResetAfterStep
from minidark.backend.compiled.steps import GruStep as GruStep
from minidark.backend.compiled.steps import LstmStep as LstmStep
from minidark.backend.numpy_kernels import batch_statistics as batch_statistics
from minidark.backend.numpy_kernels import gru_gates as gru_gates
from minidark.backend.numpy_kernels import gru_gates_backward as gru_gates_backward
from minidark.backend.numpy_kernels import gru_reset_after as gru_reset_after
from minidark.backend.numpy_kernels import gru_reset_after_backward as gru_reset_after_backward
from minidark.backend.numpy_kernels import gru_state as gru_state
from minidark.backend.numpy_kernels import gru_state_backward as gru_state_backward
from minidark.backend.numpy_kernels import logistic as logistic
from minidark.backend.numpy_kernels import lstm_state as lstm_state
from minidark.backend.numpy_kernels import lstm_state_backward as lstm_state_backward
from minidark.backend.numpy_kernels import normalize_backward as normalize_backward
from minidark.backend.numpy_kernels import shorten as shorten
from minidark.backend.numpy_kernels import total as total

PROBES = {  # a kernel that nearly every training of this layer type uses
    "gru": gru._forward_streams,
    "lstm": lstm._forward_streams,
    "rnn": rnn._forward_streams,
    "connected": tile.add_product,
    "attention": attention._softmax,
}


@functools.cache
def in_half() -> ModuleType:
    """The same functions, with the operands of all matrix products rounded to bfloat16. HALF says
    whether numba's target multiplies them faster than float32."""
    half = ModuleType(f"{__name__} in bfloat16")
    vars(half).update({name: _halved(value) for name, value in globals().items()})
    return half


def permits_half() -> bool:
    """Ask whether this process may multiply numbers of bfloat16. Without it, the first function
    with half=True may end the process."""
    return not kernel.MATRIX or matrix_unit.request()


def has_half() -> bool:
    """Whether this process can multiply numbers of bfloat16 faster than float32."""
    return HALF and permits_half()


def _halved(value: Any) -> Any:
    ours = callable(value) and value.__module__.startswith("minidark.")
    takes = ours and "half" in signature(value).parameters
    return functools.partial(value, half=True) if takes else value


def are_kept(types: Iterable[str]) -> bool:
    """Whether the float32 kernels of these layer types are stored on disk in their current form."""
    return all(kernel.is_kept(PROBES[type_]) for type_ in PROBES.keys() & {*types})
