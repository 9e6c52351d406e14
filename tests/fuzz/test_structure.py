"""Files put together from parts of which it is known whether they are right."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidark import CfgError, WeightsError
from minidark.cfg.plan import plan_cfg
from minidark.weights.darknet import read_weights
from tests.helpers import network
from tests.selection import examples

MANY = settings(max_examples=examples(400), deadline=None, derandomize=True)

# --- cfgs: each pair is known to be right or wrong, and a cfg is right if all are -------------

WHOLE = (["1", "+7", "0064", "2147"], ["0", "-1", "1.0", "1e3", "x", "1_0", "٣", "9" * 30, "--1"])
SHARE = ([".5", "0", "1e-3", "0.25", "5e-1"], ["-1", "1.5", "nan", "inf", "1e999", ".", "1,5"])
FLAG = (["0", "1"], ["2", "yes", "-0", "01"])
NET_KEYS = {
    "time_steps": WHOLE,
    "momentum": SHARE,
    "adam": FLAG,
    "policy": (["constant", "exp", "random"], ["", "Constant", "none"]),
    "steps": (["1,2,3", "5"], ["2,1", "1,1", "1,,2", ",", "a"]),
}
LAYERS: dict[str, dict[str, tuple[list[str], list[str]]]] = {
    "gru": {"output": WHOLE, "tanh": FLAG, "batch_normalize": FLAG},
    "lstm": {"output": WHOLE, "batch_normalize": FLAG},
    "rnn": {"output": WHOLE, "hidden": WHOLE, "logistic": (["0", "1", "2"], ["3", "-1"])},
    "connected": {"output": WHOLE, "learning_rate": (SHARE[0], ["-1", "nan"])},
    "dropout": {"probability": (SHARE[0], ["1", "-1", "nan"])},
    "softmax": {"temperature": (["1", ".5"], ["0", "-1", "1e-9"])},
    "batchnorm": {"stopbackward": FLAG},
}


@st.composite
def pairs(draw: st.DrawFn, keys: dict[str, tuple[list[str], list[str]]]) -> tuple[str, bool]:
    lines, right = [], True
    for key in draw(st.lists(st.sampled_from(sorted(keys)), unique=True)):
        good = draw(st.integers(0, 9)) > 0
        value = draw(st.sampled_from(keys[key][0 if good else 1]))
        blank = draw(st.sampled_from(["", " ", "\t"]))
        lines.append(f"{blank}{key}{blank}={blank}{value} # {key}=?")
        right = right and good
    return "\n".join(lines), right


@st.composite
def cfgs(draw: st.DrawFn) -> tuple[bytes, list[str] | None]:
    """A cfg, and its layers where it is right."""
    body, right = draw(pairs(NET_KEYS))
    blocks = [f"[net]\ninputs=3\n{body}"]
    names = draw(st.lists(st.sampled_from(sorted(LAYERS)), max_size=5))
    for name in names:
        body, good = draw(pairs(LAYERS[name]))
        blocks.append(f"[{name}]\n{body}")
        right = right and good
    end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = end.join("\n".join(blocks).split("\n"))
    return text.encode(), names if right and names else None


@MANY
@given(cfgs())
def test_a_cfg_is_right_when_all_its_parts_are(made: tuple[bytes, list[str] | None]) -> None:
    data, layers = made
    if layers is None:
        with pytest.raises(CfgError):
            plan_cfg(data, "a.cfg")
    else:
        assert [la.section.type for la in plan_cfg(data, "a.cfg").layers] == layers


# --- weight files: header, width of `seen`, numbers, and what is wrong with them --------------

NET = network("net inputs=2", "gru output=2", "connected output=2", dtype="float32")
FLOATS = 36 + 6
number = st.sampled_from([0, 1, 2, 3, 4, 5, 999, 1000, 1001, 1002, 1999, 2000, 2**25, -1])


def read_plainly(data: bytes) -> tuple[int, list[float]] | None:
    """`seen` and the numbers by darknet's rules, or None where they are broken."""
    major, minor, _ = version = struct.unpack("<3i", data[:12])
    if min(version) < 0 or max(version) >= 2000:
        return None
    for form in ("<q", "<i"):
        size = struct.calcsize(form)
        transposed = major > 1000 or minor > 1000
        is_form = 10 * major + minor >= 2 and 1000 not in (major, minor)
        if len(data) == 12 + size + 4 * FLOATS and (transposed or is_form == (form == "<q")):
            (seen,) = struct.unpack(form, data[12 : 12 + size])
            numbers = struct.unpack(f"<{FLOATS}f", data[12 + size :])
            return None if seen < 0 else (seen, list(numbers))
    return None


@MANY
@given(
    st.tuples(number, number, number), st.booleans(), st.integers(-1, 2**31 - 1),
    st.sampled_from([FLOATS] * 4 + [0, FLOATS - 1, FLOATS + 1]), st.sampled_from([0, 0, 0, 1, 3]),
    st.lists(st.tuples(st.integers(0, FLOATS - 1), st.sampled_from([np.nan, np.inf, -np.inf])),
             max_size=2), st.booleans(),
)  # fmt: skip
def test_a_weight_file_is_right_when_all_its_parts_are(
    version: tuple[int, int, int],
    wide: bool,
    seen: int,
    count: int,
    extra: int,
    odd: list[tuple[int, float]],
    allowed: bool,
) -> None:
    values = np.arange(count, dtype="<f4")
    for at, value in odd:
        values[at:][:1] = value
    header = struct.pack("<3iq" if wide else "<3ii", *version, seen)
    data = header + values.tobytes() + bytes(extra)

    plain = read_plainly(data)
    if plain is None or not (allowed or np.isfinite(plain[1]).all()):
        with pytest.raises(WeightsError, match=r"^x: "):
            read_weights(NET, data, "x", allow_nonfinite=allowed)
        return
    assert read_weights(NET, data, "x", allow_nonfinite=allowed).seen == plain[0]
    kept = np.concatenate([p.value.reshape(-1) for p in NET.parameters()])
    np.testing.assert_array_equal(np.sort(kept), np.sort(np.array(plain[1], "f4")))
