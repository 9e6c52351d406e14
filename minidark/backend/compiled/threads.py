"""Runs kernels on several threads.

Each thread has its own range of rows, columns or streams. One thread computes each number, always
in the same order, so results do not depend on the number of threads.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import warnings
from importlib import import_module
from typing import Any

import numba
from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from minidark.backend.compiled.kernel import kernel
from minidark.backend.threads import kernels_watch, processors, thread_count

_chosen = threading.local()
_several = threading.Lock()  # held while several threads work for one calling thread
_forked = False
LEAST = 1 << 14  # elementary operations below which a second thread costs more than it saves

# How long an OpenMP thread spins before it sleeps: rounds of GNU's loop (about 0.3 ms), and
# milliseconds of LLVM's. By default both spin much longer and take processors from other programs.
# These values match the pauses between kernels.
SPINNING = {"GOMP_SPINCOUNT": "10000", "KMP_BLOCKTIME": "1"}


def _load_openmp() -> None:
    """Load numba's OpenMP layer, if there is one, with SPINNING in the environment. The library
    reads the environment once; child processes must not inherit SPINNING."""
    if "OMP_WAIT_POLICY" in os.environ:
        return
    added = {name: value for name, value in SPINNING.items() if name not in os.environ}
    os.environ.update(added)
    try:
        with contextlib.suppress(ImportError):
            import_module("numba.np.ufunc.omppool")
    finally:
        for name in added:
            del os.environ[name]


_load_openmp()
# numba wants a lock for processes that fork while it starts its threads. Without writable files
# there is no lock, and the user cannot change that.
warnings.filterwarnings("ignore", "Could not obtain multiprocessing lock")


def spread(shared: Any, size: int, work: int, *args: Any, grain: int = 1) -> None:
    """Call shared(*args, (size, grain, threads)), a kernel that passes its rows to `share`.

    work: elementary operations, which determine the number of threads. It is one if several threads
    already work for another calling thread, because more would wait for processors, and in a forked
    process, where OpenMP cannot start threads.
    """
    parts = size // grain
    threads = min(parts, work // LEAST, thread_count())
    if threads < 2 or _forked or not _several.acquire(blocking=False):
        shared(*args, (size, grain, 1))
        return
    try:
        watch = kernels_watch()
        threads = min(threads, watch.count)
        cores = min(parts / -(-parts // threads), _wake(threads), processors())
        forms = _forms(shared)
        began = watch.begin(time.process_time)
        shared(*args, (size, grain, threads))
        if _forms(shared) == forms:  # no compilation, which uses only one processor
            watch.end(began, time.process_time, cores)
    finally:
        _several.release()


def _forms(shared: Any) -> int:
    """The number of forms of a kernel that this process has compiled or loaded."""
    return len(getattr(shared, "overloads", ()))


def _wake(threads: int) -> int:
    """Set numba's number of threads for the calling thread. Returns the actual number, which
    NUMBA_NUM_THREADS may limit."""
    awake: int = min(threads, numba.config.NUMBA_NUM_THREADS)
    if getattr(_chosen, "threads", 0) != awake:
        numba.set_num_threads(awake)
        _chosen.threads = awake
    return awake


def _after_fork() -> None:
    global _forked, _several
    _forked, _several = True, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@kernel()
def begin(size, thread, threads, grain):
    """The begin of a thread's range, and the end of the previous one: a multiple of grain, or
    size."""
    grains = (size + grain - 1) // grain
    return min(size, grains * thread // threads * grain)


ADDRESS = ir.IntType(64)
ENTRY = ir.FunctionType(ir.VoidType(), [ADDRESS] * 3)  # of the arguments, lo, hi


@kernel(parallel=True)
def _fork(entry, arguments, size, grain, threads):
    """The only parallel kernel, because numba takes seconds to compile one."""
    for thread in prange(threads):
        lo, hi = begin(size, thread, threads, grain), begin(size, thread + 1, threads, grain)
        _call_entry(entry, arguments, lo, hi)


@intrinsic
def _call_entry(typingctx: Any, entry: Any, arguments: Any, lo: Any, hi: Any) -> Any:
    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        address, *rest = values
        builder.call(builder.inttoptr(address, ENTRY.as_pointer()), rest)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def share(typingctx: Any, rows: Any, arguments: Any, shares: Any) -> Any:
    """Call rows(*arguments, lo, hi) on each thread with its own range lo to hi.

    rows: a kernel. arguments: a tuple. shares: the total size of the ranges, the grain (ranges
    begin at its multiples), and the number of threads.
    """
    parameters = (*map(types.unliteral, arguments), types.int64, types.int64)
    rows_result = _compiled(rows.dispatcher, parameters)
    fork_result = _compiled(_fork, (types.int64,) * 5)

    def codegen(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        _, packed, shares = values
        size, grain, threads = cgutils.unpack_tuple(builder, shares, 3)
        place = cgutils.alloca_once_value(builder, packed)
        entry = _entry(context, builder, rows_result, signature.args[1], packed.type)
        at = builder.ptrtoint(place, ADDRESS)
        several = builder.icmp_signed(">", threads, ir.Constant(ADDRESS, 1))
        with builder.if_else(several) as (then, otherwise):
            with then:
                everything = [builder.ptrtoint(entry, ADDRESS), at, size, grain, threads]
                _call(context, builder, fork_result, everything)
            with otherwise:
                builder.call(entry, [at, ir.Constant(ADDRESS, 0), size])
        return context.get_dummy_value()

    return types.void(rows, arguments, types.UniTuple(types.int64, 3)), codegen


def _compiled(dispatcher: Any, parameters: Any) -> Any:
    """numba's compilation result of a kernel for these types."""
    dispatcher.compile(parameters)
    return dispatcher.overloads[parameters]


def _entry(context: Any, builder: Any, result: Any, arguments: Any, packed: Any) -> Any:
    """A function with which any thread calls a kernel on a range. It reads the kernel's other
    arguments from an address, where they are packed as a tuple."""
    name = builder.module.get_unique_name("entry")
    entry = ir.Function(builder.module, ENTRY, name)
    entry.linkage = "internal"
    at, lo, hi = entry.args
    inside = ir.IRBuilder(entry.append_basic_block())
    values = inside.load(inside.inttoptr(at, packed.as_pointer()))
    unpacked = [
        _borrowed(context, inside, type_, value)
        for type_, value in zip(
            arguments, cgutils.unpack_tuple(inside, values, len(arguments)), strict=True
        )
    ]
    _call(context, inside, result, [*unpacked, lo, hi])
    inside.ret_void()
    return entry


def _borrowed(context: Any, builder: Any, type_: Any, value: Any) -> Any:
    """An array without reference counting, because its caller holds a reference; or another value
    unchanged. With counting, threads would wait for one another at every row."""
    if not isinstance(type_, types.Array):
        return value
    array = context.make_array(type_)(context, builder, value)
    for owner in ("meminfo", "parent"):
        setattr(array, owner, cgutils.get_null_value(getattr(array, owner).type))
    return array._getvalue()


def _call(context: Any, builder: Any, result: Any, values: Any) -> None:
    """Emit a call. The status that numba returns is ignored, because kernels do not raise."""
    context.add_linking_libs([result.library])
    function = context.declare_function(builder.module, result.fndesc)
    context.call_conv.call_function(
        builder, function, result.signature.return_type, result.signature.args, values
    )
