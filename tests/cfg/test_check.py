"""What `check` finds: every mistake of a cfg, and doubts where they are due and nowhere else."""

from __future__ import annotations

import itertools

import pytest

from minidark import CfgError
from minidark.backend import get_backend
from minidark.cfg.check import READING, STAGES, Checked, check_cfg
from minidark.cfg.plan import plan_cfg
from minidark.cfg.rules import RULES
from minidark.cfg.sections import ignore_doubt
from minidark.files import shipped
from minidark.network.parser import build_network
from tests.docs.test_reference_pages import documented
from tests.fuzz.mutation import corpus, mutations
from tests.helpers import cfg
from tests.test_darknet_cfgs import CFGS, NET

SOUND = (
    "net inputs=8 batch=4 time_steps=3 max_batches=9 learning_rate=.01",
    "gru output=4 tanh=1",
    "connected output=8 activation=linear",
    "softmax",
)
NET_LINE = SOUND[0]


def sections(*changes: tuple[int, str]) -> tuple[str, ...]:
    """SOUND with keys added to sections or changed, or, where a change begins with the section's
    name, with that in its place."""
    changed = list(SOUND)
    for at, text in changes:
        name, *pairs = changed[at].split()
        if not text.startswith(f"{name} "):
            new = text.split()
            keys = {pair.partition("=")[0] for pair in new}
            kept = [pair for pair in pairs if pair.partition("=")[0] not in keys]
            text = " ".join([name, *kept, *new])
        changed[at] = text
    return tuple(changed)


def check(*text: str, text_bytes: int | None = None) -> Checked:
    return check_cfg(cfg(*text).encode(), "a.cfg", text_bytes=text_bytes)


def names(checked: Checked) -> list[str]:
    return [finding.name for finding in checked.findings]


# rule: a cfg that it holds for, and the nearest to it that it does not hold for
CASES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "logistic-candidate": (sections((1, "gru output=4")), sections((1, "gru output=4 tanh=0"))),
    "output-of-one": (sections((1, "gru tanh=1")), sections((1, "gru tanh=1 output=1"))),
    "one-stream": (
        sections((0, "batch=4 subdivisions=4")),
        sections((0, "batch=8 subdivisions=4")),
    ),
    "norm-of-one-stream": (
        sections((0, "batch=1"), (1, "batch_normalize=1")),
        sections((0, "batch=1 time_steps=1"), (1, "batch_normalize=1")),
    ),
    "bounded-scores": (
        sections((2, "connected output=8")),
        sections((2, "connected output=8 activation=leaky")),
    ),
    "dropped-predictions": (
        (*SOUND[:3], "dropout", "softmax"),
        (*SOUND[:2], "dropout", *SOUND[2:]),
    ),
    "other-outputs": (sections((2, "output=7")), sections((2, "output=8"))),
    "no-cost": (SOUND[:3], sections((0, "batch=1 time_steps=1"))[:3]),
    "nothing-learns": (sections((2, "stopbackward=1")), sections((1, "stopbackward=1"))),
    "softmax-twice": ((*SOUND, "softmax"), (*SOUND[:3], "softmax noloss=1", "cost")),
    "grouped-predictions": (sections((3, "groups=2")), sections((3, "groups=1"))),
    "nothing-divided": (
        sections((0, "batchnorm=gpu")),
        sections((0, "batchnorm=gpu"), (1, "batch_normalize=1")),
    ),
    "unread-layer": (
        (*SOUND[:2], "gru output=3", "route layers=0", *SOUND[2:]),
        (*SOUND[:2], "gru output=3", "route layers=-1,0", *SOUND[2:]),
    ),
    "nothing-smoothed": (
        (*sections((3, "noloss=1 smoothing=.1")), "cost"),
        (*sections((3, "smoothing=.1")), "cost"),
    ),
    "adam-decay": (sections((0, "adam=1")), sections((0, "adam=1 decay=0"))),
    "adam-rate": (
        sections((0, "adam=1 decay=0 learning_rate=.1")),
        sections((0, "learning_rate=.1")),
    ),
    "other-optimizer": (sections((0, "B1=.9")), sections((0, "B1=.9 adam=1 decay=0"))),
    "no-rate": (sections((0, "learning_rate=0")), sections((0, "learning_rate=.0001"))),
    "other-policy": (sections((0, "gamma=.5")), sections((0, "gamma=.5 policy=exp"))),
    "policy-without-keys": (
        sections((0, "policy=step step=2")),
        sections((0, "policy=step step=2 scale=.5")),
    ),
    "steps-too-late": (
        sections((0, "policy=steps steps=4,9 scales=.1,.1")),
        sections((0, "policy=steps steps=4,8 scales=.1,.1")),
    ),
    "burn-in-too-long": (sections((0, "burn_in=9")), sections((0, "burn_in=8"))),
    "no-max-batches": (
        sections((0, "net inputs=8 batch=4 time_steps=3")),
        sections((0, "net inputs=8 batch=1 time_steps=1")),
    ),
    "text-too-short": (sections((0, "time_steps=95")), sections((0, "time_steps=94"))),
    "epochs": (sections((0, "max_batches=2000")), sections((0, "max_batches=1500"))),
    "one-symbol": (
        sections((0, "batch=1 time_steps=1")),
        sections((0, "batch=2 subdivisions=2 time_steps=1")),
    ),
}
OF_TEXTS = {"utf-16-text"}  # told by more than the cfg and the length of the text


def test_every_rule_has_a_case() -> None:
    assert set(CASES) | OF_TEXTS == {rule.name for rule in RULES}


@pytest.mark.parametrize("name", CASES)
def test_a_rule_holds_where_it_should_and_not_beside_it(name: str) -> None:
    holds, does_not = CASES[name]
    (found,) = [f for f in check(*holds, text_bytes=100).findings if f.name == name]
    (rule,) = [rule for rule in RULES if rule.name == name]
    assert (found.code, found.severity, found.hint) == (rule.code, "warning", rule.hint)
    assert 1 <= (found.line or 0) <= cfg(*holds).count("\n")
    assert name not in names(check(*does_not, text_bytes=100))


def test_one_symbol_a_pass_is_meant_where_nothing_is_trained() -> None:
    text = cfg(*sections((0, "batch=1 time_steps=1"))).encode()
    assert "one-symbol" not in names(check_cfg(text, "a.cfg"))


def test_a_cost_that_noloss_takes_away_is_missed_at_its_line() -> None:
    checked = check(*SOUND[:3], "softmax noloss=1")
    (found,) = [f for f in checked.findings if f.name == "no-cost"]
    assert cfg(*SOUND[:3], "softmax noloss=1").splitlines()[(found.line or 0) - 1] == "noloss=1"
    assert "without noloss=1" in found.hint


def test_a_sound_cfg_has_no_findings_and_a_plan() -> None:
    checked = check(*SOUND)
    assert checked.findings == []
    assert checked.plan is not None


def test_codes_and_names_are_each_for_one_thing() -> None:
    codes = [*STAGES, *READING.values(), *(rule.code for rule in RULES)]
    known = [*STAGES.values(), *READING, *(rule.name for rule in RULES)]
    assert len(set(codes)) == len(codes)
    assert len(set(known)) == len(known)


def test_every_finding_is_documented() -> None:
    wanted = {f"{rule.code} {rule.name}" for rule in RULES}
    wanted |= {f"{code} {name}" for name, code in READING.items()}
    wanted |= {f"{code} {name}" for code, name in STAGES.items()}
    assert wanted <= documented("cfg.md")


@pytest.mark.parametrize("name", shipped.names("cfg", ".cfg"))
def test_shipped_cfgs_are_clean(name: str) -> None:
    path = shipped.find_cfg(name)
    assert check_cfg(path.read_bytes(), path, text_bytes=466_000).findings == []


DARKNETS = {
    "rnn.cfg": [],
    "rnn.train.cfg": [],
    "gru.cfg": 3 * ["logistic-candidate"],
    "gru.cfg, wide": ["logistic-candidate", "extra-cost"],
    "lstm.train.cfg": ["extra-cost"],
    "AlexeyAB's gru.cfg": [*3 * ["logistic-candidate"], "extra-cost"],
}


@pytest.mark.parametrize("name", CFGS)
def test_darknets_own_cfgs_have_the_doubts_that_they_should(name: str) -> None:
    batch, steps, rest = CFGS[name]
    text = "[net]\nsubdivisions=1\n" + NET.format(batch=batch, steps=steps) + rest
    assert names(check_cfg(text.encode(), "darknets.cfg")) == DARKNETS[name]


WRONG = """\
[net]
inputs=256
batch=5
subdivisions=2
learning_rate=abc
policy=stepz
garbage
[gruu]
output=3
[gru]
ouput=3
tanh=1
[connected]
activation=rleu
output=-4
[dropout]
probability=1.2
[softmax]
groups=300
[cost]
type=ssee
"""


def test_every_mistake_is_found_with_its_line() -> None:
    checked = check_cfg(WRONG.encode(), "a.cfg")
    assert checked.plan is None
    assert [(f.line, f.code) for f in checked.findings] == [
        (4, "E002"), (5, "E002"), (6, "E002"), (7, "E001"), (8, "E002"), (11, "W001"),
        (14, "E003"), (15, "E002"), (17, "E002"), (19, "E003"), (20, "W005"), (21, "E003"),
    ]  # fmt: skip
    hints = {6: "'step'", 8: "'gru'", 11: "'output'", 14: "'relu'", 21: "'sse'"}
    for finding in checked.findings:
        if finding.line in hints:
            assert f"did you mean {hints[finding.line]}" in finding.message, finding


@pytest.mark.parametrize(
    ("data", "code", "line"),
    [
        (b"", "E001", None),
        (b"[net]\ninputs=3\0", "E001", 2),
        (b"[net]\ninputs=\xff", "E001", 2),
        (b"[gru]\noutput=3", "E002", 1),
        (b"[net]\ninputs=4\n", "E002", None),
        (b"[net]\ninputs=2000000000\n[gru]\ntanh=1\noutput=2000000000\n[softmax]", "E004", 5),
        (b"\xff" * 2_000_000, "E001", None),
        (b"x\n" * 20_000, "E001", 1),
    ],
)
def test_what_is_hardly_a_cfg_is_a_finding_and_no_crash(
    data: bytes, code: str, line: int | None
) -> None:
    found = check_cfg(data, "a.cfg").findings
    assert code in {f.code for f in found}
    assert line in {f.line for f in found}


def test_rules_look_only_at_a_cfg_without_mistakes() -> None:
    mistaken = check(*sections((1, "gru output=4")), "softmaxx")
    assert names(mistaken) == ["wrong-value"]


def test_overrides_are_looked_at_too() -> None:
    data = cfg(*SOUND).encode()
    (found,) = check_cfg(data, "a.cfg", ["0.output=x"]).findings
    assert (found.line, found.message) == (0, "output='x' is not an integer")
    (found,) = check_cfg(data, "a.cfg", ["gruu.output=3"]).findings
    assert found.message.endswith("no [gruu] in this cfg (did you mean 'gru'?)")


def first_mistake(data: bytes) -> str | None:
    """What reading raises, to the making of the network."""
    try:
        plan = plan_cfg(data, "a.cfg", warn=ignore_doubt)
        build_network(plan, 0, get_backend(kernels="numpy"), draw=False)
    except CfgError as error:
        return error.message
    return None


def test_a_mistake_is_found_exactly_where_reading_raises() -> None:
    """Whatever the bytes; and the first that reading meets is among those that are found."""
    outcomes = set()
    kept = [path.read_bytes() for path in corpus("cfg")]
    for data in [*kept, *itertools.islice(mutations("cfg", 5), 500)]:
        first = first_mistake(data)
        found = {f.message for f in check_cfg(data, "a.cfg").findings if f.severity == "error"}
        assert first in found if first else not found, data
        outcomes.add(first is None)
    assert outcomes == {True, False}


def test_a_cfg_in_yaml_has_the_same_doubts_at_its_own_lines() -> None:
    data = (
        b"net: {inputs: 8, batch: 4, max_batches: 9, time_steps: 3}\n"
        b"layers:\n"
        b"- gru: {output: 4}\n"
        b"- connected: {output: 8, activation: linear}\n"
        b"- softmax\n"
    )
    (found,) = check_cfg(data, "a.yaml").findings
    assert (found.line, found.name) == (3, "logistic-candidate")
    (found,) = check_cfg(data.replace(b"gru", b"gruu"), "a.yaml").findings
    assert (found.line, found.severity) == (3, "error")
