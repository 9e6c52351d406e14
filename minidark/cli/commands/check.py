"""`minidark check`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from minidark.backend import get_backend
from minidark.cfg.check import DOUBT, MISTAKE, Finding, check_cfg
from minidark.cfg.plan import Plan
from minidark.cfg.source import read_source
from minidark.cli.commands.info import fill, header_facts
from minidark.cli.options.cfg_options import CfgChoice, cfg_options
from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import say, say_json
from minidark.data.text import Text, looks_like_utf16
from minidark.errors import OVERRIDDEN, WeightsError
from minidark.files.archives import is_archive
from minidark.files.shipped import as_typed
from minidark.network.parser import build_network
from minidark.weights.arrays import array_statistics

MOST_SHOWN = 200
WRONG_CFG, WRONG_WEIGHTS = 3, 4

Findings = list[tuple[Path, Finding]]
Facts = dict[str, Any] | None


@click.command()
@click.argument("cfg")
@click.argument("weights", required=False)
@click.option("--data", multiple=True, metavar="FILE",
              help="Training text, to check max_batches against its size; repeatable.")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["text", "json", "github"]), default="text",
              show_default=True,
              help="Output format; github prints workflow annotations.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@cfg_options
def check(
    cfg: str,
    weights: str | None,
    data: tuple[str, ...],
    form: str,
    as_json: bool,
    choice: CfgChoice,
) -> None:
    """Report mistakes and warnings in a cfg, and whether weights fit.

    \b
    minidark check my.cfg
    minidark check my.cfg backup/my_best.weights
    minidark check my.cfg --data book.txt --strict
    minidark check my.cfg --format github

    Exits with 0 if there is no mistake, with 3 for a mistake in the cfg, and with 4 for one in the
    weights. With --strict, a warning counts as a mistake. docs/cfg.md lists all checks.
    """
    path = choice.path(cfg)
    text_bytes, utf16 = None, any(map(looks_like_utf16, data))
    if data:
        with Text(data, inputs=256) as text:
            text_bytes = text.size
    checked = check_cfg(read_source(path), path, choice.overrides, text_bytes, utf16)
    findings = [(path, finding) for finding in checked.findings]
    facts: Facts = None
    weights = cfg if weights is None and is_archive(cfg) else weights
    if weights and checked.plan:
        facts, wrong = _weights(checked.plan, weights, choice)
        findings += [(Path(weights), finding) for finding in wrong]
    FORMS["json" if as_json else form](findings, facts, path)
    raise SystemExit(_exit_code(findings, choice.strict))


def _weights(plan: Plan, weights: str, choice: CfgChoice) -> tuple[Facts, list[Finding]]:
    """The header of a weight file, and its errors."""
    net = build_network(plan, 0, get_backend(kernels="numpy"), draw=False)
    try:
        header = fill(net, weights, choice.with_nonfinite())
    except WeightsError as error:
        return None, [_of_weights("E101", "weights-do-not-fit", str(error), weights)]
    bad = [a for a in array_statistics(net) if a["not_finite"]]
    facts = header_facts(header, choice.reading["weights_order"])
    facts["not_finite"] = sum(a["not_finite"] for a in bad)
    if bad and not choice.reading["allow_nonfinite"]:
        message = (
            f"{facts['not_finite']:,} numbers are NaN or infinite, the first in {bad[0]['name']}"
        )
        return facts, [_of_weights("E102", "weights-not-finite", message, weights)]
    return facts, []


def _of_weights(code: str, name: str, message: str, path: str) -> Finding:
    return Finding(code, name, MISTAKE, None, message.removeprefix(f"{path}: "))


def _exit_code(findings: Findings, strict: bool) -> int:
    codes = [f.code for _, f in findings if strict or f.severity == MISTAKE]
    in_cfg = [code for code in codes if not code.startswith("E1")]
    return WRONG_CFG if in_cfg else WRONG_WEIGHTS if codes else 0


# --- output ----------------------------------------------------------------------


def _as_text(findings: Findings, facts: Facts, cfg: Path) -> None:
    for path, f in findings[:MOST_SHOWN]:
        at = _at(path, f.line)
        say(f"{at}: {f.severity}: {_message(f)} [{f.code} {f.name}]")
    if len(findings) > MOST_SHOWN:
        say(f"{as_typed(str(cfg))}: and {len(findings) - MOST_SHOWN:,} more")
    if facts:
        say(
            f"weights: version {facts['version']} ({facts['program']}), {facts['order']}'s order "
            f"of arrays, {facts['seen']:,} rows seen"
        )
    mistakes, doubts = _counts(findings)
    tell(f"minidark: {cfg}: {_number(mistakes, 'mistake')}, {_number(doubts, 'warning')}")


def _as_json(findings: Findings, facts: Facts, cfg: Path) -> None:
    mistakes, doubts = _counts(findings)
    shown = [
        {
            "file": str(path),
            "line": f.line or None,
            "severity": f.severity,
            "code": f.code,
            "name": f.name,
            "message": f.message,
            "hint": f.hint,
        }
        for path, f in findings[:MOST_SHOWN]
    ]
    entries = {"cfg": str(cfg), "mistakes": mistakes, "warnings": doubts, "findings": shown}
    say_json(entries if facts is None else {**entries, "weights": facts})


def _as_github(findings: Findings, facts: Facts, cfg: Path) -> None:
    """Print workflow commands, which have their own escapes."""
    del facts, cfg
    for path, f in findings[:MOST_SHOWN]:
        line = f",line={f.line}" if f.line else ""
        title = f"{f.code} {f.name}"
        say(f"::{f.severity} file={_property(str(path))}{line},title={title}::{_data(_message(f))}")


FORMS: dict[str, Callable[[Findings, Facts, Path], None]] = {
    "text": _as_text,
    "json": _as_json,
    "github": _as_github,
}


def _at(path: Path, line: int | None) -> str:
    name = as_typed(str(path))
    if line == OVERRIDDEN:
        return f"{name} as overridden"
    return name if line is None else f"{name}:{line}"


def _message(finding: Finding) -> str:
    return f"{finding.message}; {finding.hint}" if finding.hint else finding.message


def _counts(findings: Findings) -> tuple[int, int]:
    severities = [f.severity for _, f in findings]
    return severities.count(MISTAKE), severities.count(DOUBT)


def _number(count: int, what: str) -> str:
    return f"{count or 'no'} {what}{'' if count == 1 else 's'}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
