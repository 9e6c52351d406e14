"""`minidark demo`."""

from __future__ import annotations

import contextlib
import os
import shlex
from importlib.util import find_spec
from pathlib import Path

import click

from minidark.cfg.source import RUN
from minidark.cli import load
from minidark.cli.command import WORDS
from minidark.cli.options.numbers import count
from minidark.cli.output.outputs import PAGE, check_output, force_option
from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import say
from minidark.errors import DataError
from minidark.files import shipped
from minidark.files.disk import named, open_regular
from minidark.inference.generate import generate
from minidark.network.parser import load_network
from minidark.training.parallel.mpi import started
from minidark.training.records import read_whole_run
from minidark.weights.run_folder import WEIGHTS, base_name

CFG, TEXT = "rnn", "alice.txt"  # the shipped cfg and text
BATCHES = 2000  # two minutes on two cores with numpy's kernels
OF_TEXT = ["--set", "dropout.probability=.5"]  # the network reads this small text 14 times
BEFORE, AFTER = 200, 600  # characters of the two samples
FOLDER, OUTPUT = "backup", "play.html"  # the defaults of `train` and `play`
INTERRUPTED = 128  # an interrupted command exits with this plus the number of the signal


@click.command()
@click.argument("text", required=False)
@click.option("--batches", type=count(), default=BATCHES, show_default=True, metavar="N",
              help="Number of batches.")  # fmt: skip
@click.option("--backup", default=FOLDER, show_default=True, metavar="DIR",
              help="Folder of the run.")  # fmt: skip
@click.option("-o", "--output", default=OUTPUT, show_default=True, metavar="FILE",
              help="Page to write.")  # fmt: skip
@force_option
def demo(text: str | None, batches: int, backup: str, output: str, force: bool) -> None:
    """Train for two minutes on a text, sample, and write a page of it.

    \b
    minidark demo                                   (on Alice in Wonderland)
    minidark demo my.txt --backup mine -o mine.html

    Prints three commands, `train`, `generate` and `play`, and runs them. If training is
    interrupted, the same command resumes it. A folder that contains another run is not touched;
    --backup names a new one. The page needs the extra `report`.
    """
    if not backup:
        raise click.UsageError("--backup needs a folder name")
    if started() > 1:
        raise click.UsageError("`demo` does not work with mpiexec; use `train`")
    data = _near(shipped.folder("texts") / TEXT) if text is None else text
    with open_regular(data, named(data, DataError)):
        pass  # a wrong name is reported before anything is printed
    data = _no_option(data)
    has_page = find_spec("jinja2") is not None
    if has_page:
        check_output(output, data, form=PAGE, force=force)
    cfg = _near(shipped.find_cfg(CFG)) if shipped.bare_name(f"cfg/{CFG}.cfg") else CFG
    resumes = _is_resumable(Path(backup), data, batches)
    if not resumes:
        say(f"Before training, the network writes noise:\n\n{_noise(cfg)}")
    folder = _no_option(f"{backup.rstrip('/')}/")
    _train([cfg, data, "--batches", str(batches), *(OF_TEXT if text is None else []),
            *([] if backup == FOLDER else ["--backup", backup]),
            *(["--resume", "auto"] if resumes else [])])  # fmt: skip
    _run("generate", [folder, "--len", str(AFTER)])
    if has_page:
        place = [] if output == OUTPUT else ["-o", output]
        _run("play", [folder, *place, *(["--force"] if force else [])])
        say(f"\nOpen {output} in a browser: {Path(output).absolute().as_uri()}")
    else:
        tell("minidark: no page without the extra: pip install 'minidark[report]'; then "
             f"minidark play {shlex.quote(folder)}")  # fmt: skip


def _near(path: Path) -> str:
    """The path from the current folder, if the file is below it."""
    try:
        return os.fspath(path.resolve().relative_to(Path.cwd().resolve()))
    except ValueError:
        return os.fspath(path)


def _no_option(name: str) -> str:
    """The name of a file as an argument, which must not look like an option."""
    return f"./{name}" if name.startswith("-") else name


def _is_resumable(folder: Path, data: str, batches: int) -> bool:
    """Whether the folder contains a checkpoint of this demo. Raises UsageError if it contains
    another run."""
    with contextlib.suppress(DataError):  # of a damaged or missing record
        run = read_whole_run(folder)
        same = base_name(run["cfg"]) == CFG and run["batches"] == batches
        if same and [file["path"] for file in run["text"]] == [str(Path(data))]:
            return (folder / f"{CFG}.ckpt").exists()
    files = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    if any(name == RUN or WEIGHTS.fullmatch(name) for name in files):
        raise click.UsageError(f"{folder} contains another run; name a new one with --backup")
    return False


def _noise(cfg: str) -> str:
    """A sample of the network with its initial weights; a byte that is not printable is a dot."""
    net = load_network(cfg, batch=1, time_steps=1, kernels="numpy")
    drawn = generate(net, seed=b"\n", length=BEFORE, temperature=1.0, srand=0)[1:]
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in drawn)


def _train(arguments: list[str]) -> None:
    try:
        _run("train", arguments)
    except SystemExit as exit_:
        if isinstance(exit_.code, int) and exit_.code > INTERRUPTED:
            tell("minidark: the same `minidark demo` command resumes it")
        raise


def _run(name: str, arguments: list[str]) -> None:
    """Print a command as a user types it, and run it."""
    words, current = ["minidark", name, *arguments], click.get_current_context()
    say(f"\n{shlex.join(words)}")
    current.meta[WORDS] = words
    command = load(name)
    with command.make_context(name, arguments, parent=current) as ctx:
        command.invoke(ctx)
