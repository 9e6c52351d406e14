"""The page of `minidark play`, in which a network runs.

The weights are rounded to 8, 16 or 32 bits. The error of the rounding is measured on a text that
the network writes: the mean absolute difference of the probability of the symbol that comes next.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from minidark.data.bytepairs import byte_pairs
from minidark.data.text import Ids
from minidark.data.vocabulary import Vocabulary
from minidark.errors import CfgError, DataError
from minidark.files.disk import write_atomically
from minidark.inference.generate import default_primer, sample
from minidark.inference.trace import LayerTrace, trace
from minidark.network import Network
from minidark.report.finds import finds
from minidark.report.look import TITLES, symbol_text
from minidark.report.network_packing import BITS, check_packable, packed, rounded
from minidark.report.packing import Scale
from minidark.report.pages import encoded, render_page
from minidark.report.properties import by_chance, trackers

SAMPLE = 2000  # symbols of the text that the network writes
TEMPERATURE = 0.7  # of this text
LARGEST_ERROR = 1e-3  # of the default number of bits
RECORDING = 2**26  # bytes of values that the page keeps, 4 a value
MOST, FEWEST = 20_000, 500  # limits of a text's symbols, whatever the recording allows


@dataclass(frozen=True)
class Symbols:
    """How a network's symbols are read and written. names: the bytes of each."""

    names: list[bytes]
    shown: list[str]
    primer: list[int]  # read before the page's text
    unit: str  # plural
    pairs: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    vocabulary: Vocabulary | None = None

    @classmethod
    def of(cls, net: Network, tokens: str | None) -> Symbols:
        """The symbols of a network, whose tokens have names in the file `tokens`."""
        if tokens is not None:
            vocabulary = Vocabulary.read(tokens, net.inputs)
            names = vocabulary.printed
            labels = [*map(symbol_text, vocabulary.names)]
            unit = "characters" if vocabulary.spelled else "tokens"
            return cls(names, labels, [vocabulary.first], unit, vocabulary=vocabulary)
        pairs = byte_pairs(net)
        if net.outputs > len(pairs.names):
            raise DataError(
                f"{net.outputs} symbols do not fit into bytes; name them with --tokens FILE"
            )
        primer = pairs.encode(default_primer(net.inputs)).tolist()
        unit = "symbols" if pairs.pairs else "characters"
        labels = [symbol_text(name.decode("utf-8", "surrogateescape")) for name in pairs.names]
        return cls(pairs.names, labels, primer, unit, [*pairs.pairs])

    def for_page(self) -> dict[str, Any]:
        """What symbols.js needs."""
        vocabulary = self.vocabulary and {
            "names": self.vocabulary.names,
            "characters": self.vocabulary.spelled,
        }
        return {"pairs": self.pairs, "vocabulary": vocabulary, "unit": self.unit}


class Play:
    """A network for a page. bits: of a weight; None: the fewest whose error is below LARGEST_ERROR.

    Raises CfgError if a page cannot run the network, and DataError if its symbols have no names.
    """

    def __init__(self, net: Network, bits: int | None = None, tokens: str | None = None):
        check_packable(net)
        if not net.gives_distribution:
            raise CfgError("does not end in a [softmax] without groups; a page draws from one")
        self.net, self.symbols = net, Symbols.of(net, tokens)
        written = sample(net, self.symbols.primer, SAMPLE, TEMPERATURE, srand=0)
        self.text: Ids = np.array([*self.symbols.primer, *written], np.intp)
        self.traced = trace(net, self.text, seed=b"")
        self.bits, self.rounded, self.error = self._round(bits)

    def _round(self, bits: int | None) -> tuple[int, Network, float]:
        """The bits, the network with such weights and its error."""
        for candidate in BITS if bits is None else (bits,):
            network = rounded(self.net, candidate)
            error = self._error_of(network)
            if error < LARGEST_ERROR:
                break
        return candidate, network, error

    def _error_of(self, network: Network) -> float:
        """The mean absolute difference of the next symbol's probability."""
        outputs = trace(network, self.text, seed=b"").outputs
        came = np.arange(self.text.size - 1), self.text[1:]
        return float(np.abs(outputs[came] - self.traced.outputs[came]).mean())

    def figures(self) -> dict[str, Any]:
        """The numbers of the page."""
        return {
            "parameters": sum(p.value.size for p in self.net.parameters()),
            "bits": self.bits,
            "mean_error": self.error,
            "measured_on": self.text.size - 1,
        }

    def write(self, path: Path | str, cfg: str, weights: str) -> int:
        """Write the page atomically and return its size in bytes. cfg, weights: their names.

        Raises BackendError without the extra `report`, and SaveError if the file cannot be written.
        """
        page = render_page(
            "play",
            title=f"Write with {cfg}",
            cfg=cfg,
            weights=weights,
            parameters=self.figures()["parameters"],
            rounding=self._rounding(),
            primer=self._primer(),
            sampled=self.text.size,
            unit=self.symbols.unit,
            data=self._data(),
        )
        data = encoded(page)
        write_atomically(path, [data])
        return len(data)

    def _rounding(self) -> str:
        if self.bits == BITS[-1]:
            return "The weights have 32 bits, as in the weight file."
        places = f"{self.text.size - 1:,} places of a text that the network wrote"
        return (
            f"The weights are rounded to {self.bits} bits. The mean error of a probability is "
            f"{as_decimal(self.error)}, measured on the next symbol at {places}."
        )

    def _primer(self) -> str:
        if self.symbols.vocabulary is None and self.net.inputs > ord("\n"):
            return "two line breaks"
        return f"the symbol {self.symbols.shown[self.symbols.primer[0]]}"

    def _data(self) -> dict[str, Any]:
        values = [
            _value(layer, name, rows)
            for layer in self.traced.layers
            for name, rows in layer.values.items()
        ]
        seed = b"".join(self.symbols.names[symbol] for symbol in self.symbols.primer)
        width = max(1, sum(value["units"] for value in values))
        return {
            "layers": packed(self.rounded, self.bits),
            "inputs": self.net.inputs,
            "names": self.symbols.shown[: self.net.outputs],
            "primer": self.symbols.primer,
            "seed": seed.decode("utf-8", "surrogateescape"),
            "values": values,
            "finds": self.finds(),
            "most": min(MOST, max(FEWEST, RECORDING // (4 * width))),
            **self.symbols.for_page(),
        }

    def finds(self) -> list[tuple[str, str, str, int, float]]:
        """Of each property, the unit that tracks it best, as `look` has them: property, layer,
        value, unit and correlation. The strongest comes first; those within the chance baseline
        are left out."""
        if not self.traced.layers:
            return []
        names = [self.symbols.names[symbol] for symbol in self.text]
        layers = tuple(_per_byte(layer, names) for layer in self.traced.layers)
        text = b"".join(names)
        best = finds(trackers(layers, text, 1), by_chance(layers, text))
        best.sort(key=lambda find: -abs(find.tracker.correlation))
        return [(one.name, *one.unit, round(one.tracker.correlation, 4)) for one in best]


def as_decimal(error: float) -> str:
    """An error with two digits, without an exponent."""
    return np.format_float_positional(error, 2, fractional=False, trim="-")


def _value(layer: LayerTrace, name: str, rows: npt.NDArray[np.floating]) -> dict[str, Any]:
    """A gate or state: its title, and the ends of its scale."""
    scale = Scale.of(name, rows, 1)
    return {
        "layer": layer.name,
        "name": name,
        "title": TITLES[layer.type, name],
        "units": rows.shape[1],
        "low": scale.low,
        "high": scale.high,
    }


def _per_byte(layer: LayerTrace, names: list[bytes]) -> LayerTrace:
    """A trace of symbols as one of their bytes: each byte has the values of its symbol."""
    lengths = [*map(len, names)]
    values = {name: np.repeat(rows, lengths, axis=0) for name, rows in layer.values.items()}
    return LayerTrace(layer.name, layer.type, values)
