"""Lists every mistake in a cfg and every warning, with its line.

Reading stops at the first mistake; this module continues: it skips malformed lines and unknown
sections, and replaces wrong values by defaults. It reports no consequences of a mistake: rules only
see a cfg without mistakes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from minidark.cfg.forms import parse_cfg
from minidark.cfg.plan import Plan, check_first, check_memory, override, plan_network
from minidark.cfg.rules import RULES, Case, Rule
from minidark.cfg.sections import Doubt, Refuse
from minidark.errors import CfgError, WrongLayerError

MISTAKE, DOUBT = "error", "warning"
READING = {  # codes of the warnings from reading, by name
    "unknown-key": "W001",
    "without-effect": "W002",
    "given-twice": "W003",
    "hidden-state": "W004",
    "extra-cost": "W005",
    "frozen-decay": "W006",
    "self-activation": "W007",
}
STAGES = {"E001": "not-a-cfg", "E002": "wrong-value", "E003": "wrong-layer", "E004": "too-large"}


@dataclass(frozen=True, slots=True)
class Finding:
    """line: 0 for an override, None for the whole file."""

    code: str
    name: str
    severity: str
    line: int | None
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """`plan` is None if the cfg has mistakes."""

    findings: list[Finding]
    plan: Plan | None


def check_cfg(
    data: bytes,
    path: Path | str,
    overrides: Iterable[str] = (),
    text_bytes: int | None = None,
    utf16: bool = False,
) -> Checked:
    """All findings about a cfg, sorted by line. `path` is for errors, text_bytes the length of the
    training text, utf16 whether it looks like UTF-16. Raises nothing, for any bytes."""
    findings: list[Finding] = []

    def mistakes(code: str) -> Refuse:
        return lambda error: findings.append(_mistake(code, error))

    def doubt(message: Doubt, line: int) -> None:
        findings.append(Finding(READING[message.rule], message.rule, DOUBT, line, str(message)))

    plan: Plan | None = None
    stage = "E001"
    try:
        sections = parse_cfg(data, path, doubt, mistakes(stage))
        stage = "E002"
        check_first(sections, path)
        for text in overrides:
            override(sections, text)
        plan = plan_network(sections, path, doubt, mistakes(stage))
        stage = "E004"
        check_memory(plan, path, itemsize=4)
    except CfgError as error:
        mistakes(stage)(error)
    if any(finding.severity == MISTAKE for finding in findings):
        plan = None
    if plan:
        case = Case(plan, text_bytes, utf16)
        findings += [_doubt(rule, *place) for rule in RULES for place in rule.look(case)]
    return Checked(sorted(dict.fromkeys(findings), key=lambda f: (f.line or 0, f.code)), plan)


def _mistake(stage: str, error: CfgError) -> Finding:
    code = "E003" if isinstance(error, WrongLayerError) else stage
    return Finding(code, STAGES[code], MISTAKE, error.line, error.message)


def _doubt(rule: Rule, line: int, message: str) -> Finding:
    return Finding(rule.code, rule.name, DOUBT, line, message, rule.hint)
