"""Completion: of each shell that is installed, as somebody types, and how fast it answers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minidark.cli import COMMANDS, cli, load
from minidark.cli.shell import words
from minidark.cli.shell.shells import VARIABLE, Bash
from minidark.cli.shell.table import written
from minidark.files import shipped
from tests.cli.running import assert_wrong_usage, output, run
from tests.test_lazy import HEAVY

ROOT = Path(__file__).parents[3]


def test_the_table_is_what_the_commands_take() -> None:
    assert words.TABLE.read_text() == written(), "run python -m minidark.cli.shell.table"


@pytest.fixture(autouse=True)
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`minidark` on the path, and files to complete."""
    for name in ("my.cfg", "my.yaml", "my.weights", "my.safetensors", "my text.txt", "other.md"):
        (folder / name).touch()
    (folder / "cfg").mkdir()
    (folder / "cfg" / "inner.cfg").touch()
    (folder / "cfg" / "notes.md").touch()
    (folder / "bin").mkdir()
    script = folder / "bin" / "minidark"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m minidark "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def completed(line: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What bash is answered for a line whose last word is begun."""
    monkeypatch.setenv("COMP_LINE", line)
    return [word for word in Bash(cli, {}, "minidark", VARIABLE).complete().split("\n") if word]


CFGS = [*shipped.names("cfg", ".cfg"), "bin/", "cfg/", "my.cfg", "my.yaml"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("minidark tr", ["train"]),
        ("minidark train --res", ["--resume"]),
        ("minidark train --device ", ["auto", "cpu", "cuda"]),
        ("minidark --verb", ["--verbose"]),
        ("minidark train ", CFGS),
        ("minidark train cfg/", ["cfg/inner.cfg"]),
        ("minidark train rnn my", [r"my\ text.txt", "my.cfg", "my.safetensors", "my.weights",
                                   "my.yaml"]),
        ("minidark valid rnn m", ["my.safetensors", "my.weights"]),
        ("minidark valid bi", ["bin/"]),
        ("minidark valid my", ["my.cfg", "my.safetensors", "my.weights", "my.yaml"]),
        ("minidark valid my.weights other", ["other.md"]),
        ("minidark train my", ["my.cfg", "my.yaml"]),
        ("minidark convert bi", ["bin/"]),
        ("minidark valid bin/ my", [r"my\ text.txt", "my.cfg", "my.safetensors", "my.weights",
                                    "my.yaml"]),
        ("minidark predict bin/ my", ["my.safetensors", "my.weights"]),
        ("minidark train rnn x --weights m", ["my.safetensors", "my.weights"]),
        ("minidark train rnn x --backup ", ["bin/", "cfg/"]),
        ("minidark train rnn x --seed ", []),
        ("minidark train rnn x --resume a", ["auto"]),
        ("minidark info --set gru.out", ["gru.output="]),
        ("minidark info rnn --set net.ad", ["net.adam="]),
        ("minidark train --device=c", ["cpu", "cuda"]),
        ("minidark info --set gru.output=9 rnn-v", ["rnn-vanilla"]),
        ("minidark rnn ge", ["generate", "generatetactic"]),
        ("minidark rnn generate rnn", ["rnn", "rnn-vanilla"]),
        ("minidark rnn generate rnn m", ["my.safetensors", "my.weights"]),
        ("minidark completion z", ["zsh"]),
    ],
)  # fmt: skip
def test_bash_is_answered(line: str, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert completed(line, monkeypatch) == found


def test_commands_that_read_a_network_complete_one() -> None:
    accepting = {name for name in COMMANDS if any(p.name == "final" for p in load(name).params)}
    assert accepting == {*words.WITH_NETWORK, "convert"}


def test_every_command_is_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sorted(completed("minidark ", monkeypatch)) == sorted(COMMANDS)


# --- real shells --------------------------------------------------------------------------


def needs(shell: str) -> pytest.MarkDecorator:
    missing = shutil.which(shell) is None or os.name == "nt"
    return pytest.mark.skipif(missing, reason=f"{shell} is not installed")


def typed(shell: list[str], begin: str, keys: str, done: str) -> str:
    """What stands on the screen of an interactive shell after `keys` and Enter; `done` is in it
    once the line has run."""
    import pty

    ours, theirs = pty.openpty()
    with subprocess.Popen(
        shell, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "TERM": "dumb", "PS1": "$ ", "HOME": os.getcwd()},
    ) as process:  # fmt: skip
        os.close(theirs)
        screen = ""
        for piece, wanted in [(f"{begin}; echo re''ady\n", "ready"), (keys, done)]:
            os.write(ours, piece.encode())
            end = time.monotonic() + 60
            while wanted not in screen:
                assert time.monotonic() < end, screen
                screen += os.read(ours, 1 << 16).decode(errors="replace")
        process.kill()
    os.close(ours)
    return screen


@needs("bash")
@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("minidark inf\tlst\t--js\t", "minidark info lstm --json "),
        ("minidark info --set gru.out\t9 rnn-v\t", "minidark info --set gru.output=9 rnn-vanilla "),
        ("minidark info cf\tinn\t", "minidark info cfg/inner.cfg "),
        ("minidark train rnn my\\ t\t", r"minidark train rnn my\ text.txt "),
    ],
)
def test_bash_completes_what_is_typed(keys: str, line: str) -> None:
    Path("init").write_text(output("completion", "bash").decode() + "bind 'set bell-style none'\n")
    shown = typed(["bash", "--norc", "--noprofile", "-i"], "source ./init",
                  keys + "\x01echo '<\x05>'\n", "\n<minidark")  # fmt: skip
    assert f"\n<{line}>" in shown.replace("\r", "")


@needs("zsh")
def test_zsh_completes_what_is_typed() -> None:
    Path("init").write_text(
        "autoload -U compinit; compinit -u\n" + output("completion", "zsh").decode()
    )
    shown = typed(["zsh", "-f", "-i"], "source ./init; unsetopt zle_bracketed_paste",
                  "minidark info cf\tinn\t--js\t\x01echo '<\x05>'\n", "\n<minidark")  # fmt: skip
    assert "\n<minidark info cfg/inner.cfg --json>" in shown.replace("\r", "")


@needs("fish")
def test_fish_completes_what_is_typed() -> None:
    Path("init.fish").write_bytes(output("completion", "fish"))
    Path("one, two.cfg").touch()
    line = 'complete -C "minidark info cfg/"; complete -C "minidark info one"; '
    line += 'complete -C "minidark check --form"'
    found = subprocess.run(
        ["fish", "--no-config", "-c", f"source init.fish; {line}"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    said = "--format\tOutput format; github prints workflow annotations."
    assert found.splitlines() == ["cfg/inner.cfg", "one, two.cfg", said]


def test_another_shell_is_wrong_usage() -> None:
    result = run("completion", "tcsh")
    assert_wrong_usage(
        result,
        "Invalid value for '{bash|zsh|fish}': 'tcsh' is not one of 'bash', 'zsh', 'fish'.",
    )


# --- as fast as a press of a key ----------------------------------------------------------


def test_completing_loads_neither_numpy_nor_a_command() -> None:
    code = (
        "import sys\nfrom minidark.__main__ import main\ntry: main()\nfinally: print(*sys.modules)"
    )
    variables = {"COMP_LINE": "minidark train --dev", "_MINIDARK_COMPLETE": "bash_complete"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, **variables})  # fmt: skip
    first, modules = done.stdout.splitlines()
    assert first == "--device"
    names = set(modules.split())
    assert not names & {*HEAVY, "numpy", "rich", "yaml", "safetensors"}
    assert {name for name in names if name.startswith("minidark.")} <= {
        "minidark.__main__", "minidark._version", "minidark.cli", "minidark.cli.command",
        "minidark.cli.exits", "minidark.cli.options", "minidark.cli.output", "minidark.cli.shell",
        "minidark.files",
        "minidark.cli.shell.shells", "minidark.cli.output.stderr", "minidark.cli.output.stdout",
        "minidark.cli.options.stopping", "minidark.cli.shell.words",
        "minidark.errors", "minidark.files.shipped",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_a_stand_in_takes_what_the_command_takes(name: str) -> None:
    shown = [param for param in load(name).params if not getattr(param, "hidden", False)]
    there = {tuple(param.opts) for param in shown}
    assert {tuple(param.opts) for param in load(name, light=True).params} == there


def test_a_command_that_is_not_in_the_table_is_loaded() -> None:
    assert words.stand_in("none") is None
    assert re.match("Print a script", load("completion").help or "")
