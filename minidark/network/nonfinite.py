"""Why a network gives NaN or infinity: not every cause is damaged weights."""

from __future__ import annotations

from minidark.backend import Array
from minidark.errors import DivergedError
from minidark.network import Network

LAGGING = "the rolling statistics of batch norm have not settled yet"


def not_finite(net: Network, what: str = "the network's output") -> DivergedError:
    """The error for `what`, which is NaN or infinite in inference, with its cause."""
    return DivergedError(f"{what} is NaN or infinite; {_cause(net)}")


def is_lagging(net: Network) -> bool:
    """Whether batch norm may be the cause: its rolling statistics start at zero and follow
    training slowly, and no stored number is damaged."""
    return bool(_rolling_variances(net)) and not _is_damaged(net)


def _cause(net: Network) -> str:
    if _is_damaged(net):
        return "these weights are damaged"
    variances = _rolling_variances(net)
    if not variances:
        return "these weights are finite, and so large that the states overflow"
    if not all(variance.any() for variance in variances):
        return (
            "the rolling statistics of batch norm are zero: this network is not trained; "
            "give trained weights"
        )
    return f"{LAGGING}: train these weights for more batches"


def _is_damaged(net: Network) -> bool:
    """Whether a stored number is NaN or infinite, or a variance negative."""
    negative = any((variance < 0).any() for variance in _rolling_variances(net))
    return negative or net.first_not_stored_finite() is not None


def _rolling_variances(net: Network) -> list[Array]:
    arrays = (array for layer in net.layers for array in layer.arrays())
    return [net.backend.asnumpy(a.value) for a in arrays if a.kind == "rolling_variance"]
