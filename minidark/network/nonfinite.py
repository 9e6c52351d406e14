"""Finds NaN and infinity in a network, and their cause; damaged weights are only one."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from minidark.backend import Array
from minidark.errors import DivergedError
from minidark.network import Network

LAGGING = "the rolling statistics of batch norm have not settled yet"


def check_finite(net: Network) -> None:
    """Raise DivergedError with the first stored array that contains NaN or infinity."""
    if name := first_not_stored_finite(net):
        raise DivergedError(
            f"{name} contains NaN or infinity after batch {net.batches_seen}; "
            "try a lower learning_rate, or --clip-norm 1"
        )


def first_not_stored_finite(net: Network) -> str | None:
    """Name of the first stored array that contains NaN or infinity."""
    return _first(net, ((a.name, a.value) for layer in net.layers for a in layer.arrays()))


def first_not_finite(net: Network) -> str | None:
    """Name of the first array with NaN or infinity: weights and states from the input up, then
    gradients from the output down."""
    values, gradients = [], []
    for layer in net.layers:
        values += [(a.name, a.value) for a in layer.arrays()]
        values += [(f"{layer.name}.{name}", state) for name, state in layer.states.items()]
        gradients += [(f"the gradient of {p.name}", p.grad) for p in layer.parameters()]
    return _first(net, values + gradients[::-1])  # gradients flow from the output


def _first(net: Network, arrays: Iterable[tuple[str, Array]]) -> str | None:
    asnumpy = net.backend.asnumpy
    return next((name for name, array in arrays if not np.isfinite(asnumpy(array)).all()), None)


def not_finite(net: Network, what: str = "the network's output") -> DivergedError:
    """The error for NaN or infinity in `what` during inference, with its cause."""
    return DivergedError(f"{what} is NaN or infinite; {_cause(net)}")


def is_lagging(net: Network) -> bool:
    """Whether batch norm may be the cause: no stored number is damaged, but its rolling statistics
    start at zero and follow training slowly."""
    return bool(_rolling_variances(net)) and not _is_damaged(net)


def _cause(net: Network) -> str:
    if _is_damaged(net):
        return "these weights are damaged"
    variances = _rolling_variances(net)
    if not variances:
        return "these weights are finite, but so large that the states overflow"
    if not all(variance.any() for variance in variances):
        return (
            "the rolling statistics of batch norm are zero: this network is not trained; "
            "load trained weights"
        )
    return f"{LAGGING}: train these weights for more batches"


def _is_damaged(net: Network) -> bool:
    """Whether a stored number is NaN or infinite, or a variance is negative."""
    negative = any((variance < 0).any() for variance in _rolling_variances(net))
    return negative or first_not_stored_finite(net) is not None


def _rolling_variances(net: Network) -> list[Array]:
    arrays = (array for layer in net.layers for array in layer.arrays())
    return [net.backend.asnumpy(a.value) for a in arrays if a.kind == "rolling_variance"]
