"""Properties of a text, against what can be read off it; correlations, against numpy's own."""

from __future__ import annotations

import numpy as np
import pytest

from minidark.inference.trace import LayerTrace
from minidark.report.properties import PROPERTIES, by_chance, correlations, trackers

EXAMPLES = {  # property: texts, with a digit for each byte
    "inside double quotes": [
        ('say "yes" or "no".', "000011110000011100"),
        ("a “b” c“", "00111100000111"),  # these quotes are three bytes each
        ('"open\n\nnot "x" here', "1111100000011000000"),
        ("it's none", "000000000"),
    ],
    "position in the line": [("ab\n\ncd", "012001"), ("\r\n\t", "010")],
    "length of the line": [("ab\n\ncd", "333122"), ("a\r\nb\n", "33322"), ("a\n", "22")],
    "depth of brackets": [("f(a[0], {1})) x", "011221112210000")],
    "a digit": [("a1 23é", "0101100")],
    "an upper-case letter": [("Ab CD", "10011")],
    "white space": [("a b\n\tc", "010110")],
    "the first letter of a word": [("ab c-D éa\n1x", "1001010100001")],
}


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [(name, *case) for name, cases in EXAMPLES.items() for case in cases],
)
def test_a_property_at_every_byte(name: str, text: str, wanted: str) -> None:
    found = PROPERTIES[name](text.encode())
    assert "".join(f"{x:.0f}" for x in found) == wanted
    assert found.dtype == np.float64


def test_every_property_has_an_example() -> None:
    assert EXAMPLES.keys() == PROPERTIES.keys()


@pytest.mark.parametrize("name", PROPERTIES)
def test_any_bytes_have_it(name: str) -> None:
    text = bytes(np.random.default_rng(1).integers(0, 256, 3000, dtype=np.uint8)) + b"\n\n"
    for part in (text, b"\n", b"a"):
        assert PROPERTIES[name](part).shape == (len(part),)


def test_correlations_are_pearsons() -> None:
    rng = np.random.default_rng(2)
    values, wanted = rng.normal(0, 1, (50, 4)), rng.normal(0, 1, (3, 50))
    values[:, 1] = 5 - 2 * wanted[2]
    full = np.corrcoef(wanted, values.T)[:3, 3:]
    np.testing.assert_allclose(correlations(values.astype(np.float64), wanted), full, atol=1e-12)
    assert full[2, 1] == pytest.approx(-1)


def test_what_does_not_vary_goes_along_with_nothing() -> None:
    values = np.random.default_rng(3).normal(0, 1, (50, 4)).astype(np.float32)
    values[:, 2] = 0.1
    found = correlations(values, np.stack([np.full(50, 0.3), np.arange(50.0)]))
    assert (found[0] == 0).all()
    assert found[1, 2] == 0
    assert np.isfinite(found).all()


def test_the_units_that_track_best_come_first_whatever_their_sign() -> None:
    text = b"a1 2b\n(33)\n" * 20
    digit, depth = PROPERTIES["a digit"](text), PROPERTIES["depth of brackets"](text)
    noise = np.random.default_rng(4).normal(0, 1, (2, len(text)))
    z = np.stack([noise[0], 1 - digit, digit + 0.3 * noise[1]], axis=1)
    h = np.stack([noise[1], depth * 0.5 - 1], axis=1)
    layers = (LayerTrace("0.gru", "gru", {"z": z}), LayerTrace("2.gru", "gru", {"h": h}))
    found = trackers(layers, text, most=2)
    first, second, *_ = found["a digit"]
    assert (first.layer, first.value, first.unit) == ("0.gru", "z", 1)
    assert first.correlation == pytest.approx(-1)
    assert second.unit == 2
    assert second.correlation == pytest.approx(np.corrcoef(digit, z[:, 2])[0, 1])
    assert [(t.layer, t.value, t.unit) for t in found["depth of brackets"][:1]] == [
        ("2.gru", "h", 1)
    ]
    assert len(found["a digit"]) == 4  # two of each layer
    assert found["an upper-case letter"] == []  # there is none in the text


def test_what_is_found_by_chance_is_the_best_correlation_with_another_place() -> None:
    text = b"".join(np.random.default_rng(5).choice([b"a", b"1", b" "], 101))
    digit = PROPERTIES["a digit"](text)
    values = np.stack([digit, np.random.default_rng(6).normal(0, 1, 101)], axis=1)
    found = by_chance((LayerTrace("0.gru", "gru", {"z": values}),), text)
    moved = [digit[at - 50] for at in range(101)]
    wanted = max(abs(np.corrcoef(moved, values[:, unit])[0, 1]) for unit in range(2))
    assert found["a digit"] == pytest.approx(wanted)
    assert found["an upper-case letter"] == 0
    assert found.keys() == PROPERTIES.keys()
