"""`minidark rnn VERB`: darknet's own flags and behaviour.

Old command lines work unchanged: single-dash flags may be anywhere, and defaults and formats are
darknet's. Printed numbers match darknet's arithmetic to the last bit (`minidark.inference.exact`).
Unknown verbs and flags are errors; darknet ignores them.

Source: darknet examples/rnn.c (run_char_rnn).
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import click

from minidark.cli.commands.doubts import text_doubts
from minidark.cli.options.cfg_options import CfgChoice, cfg_options
from minidark.cli.options.stopping import stoppable
from minidark.cli.options.texts import open_text
from minidark.cli.output.display import report_line
from minidark.cli.output.stderr import tell
from minidark.cli.output.stdout import say, whole_characters, write
from minidark.data.bytepairs import check_symbols
from minidark.data.tokens import byte_names, read_token_names, token_blocks
from minidark.errors import CfgError, DataError, nearest
from minidark.files.shipped import find_cfg
from minidark.inference import darknet_rnn
from minidark.inference.generate import Sampler, until_full_stop
from minidark.network import Network
from minidark.training.backups import Backups
from minidark.training.report import StepReport
from minidark.training.run import Follower, follow
from minidark.training.train import Training
from minidark.training.train import train as train_network

log = logging.getLogger(__name__)

VALUES = ("-file", "-seed", "-srand", "-len", "-temp", "-tokens", "-i", "-gpus")
SWITCHES = ("-tokenized", "-clear", "-nogpu")


@dataclass(slots=True)
class Line:
    """A command line as darknet reads it."""

    words: list[str] = field(default_factory=list)
    flags: dict[str, str] = field(default_factory=dict)

    @property
    def seed(self) -> bytes:
        return self.flags.get("-seed", "\n\n").encode("utf-8", "surrogateescape")

    def integer(self, flag: str, default: int) -> int:
        return int(self._number(flag, r"[+-]?[0-9]{1,10}", "an integer", default))

    def number(self, flag: str, default: float) -> float:
        return self._number(
            flag, r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", "a number", default
        )

    def _number(self, flag: str, grammar: str, expected: str, default: float) -> float:
        text = self.flags.get(flag)
        if text is None:
            return default
        if not re.fullmatch(grammar, text):
            raise click.UsageError(f"{flag} {text!r} is not {expected}")
        return float(text)


def parse_line(arguments: list[str]) -> Line:
    """Separate the flags, which may be anywhere, from verb, cfg and weights."""
    line, rest = Line(), iter(arguments)
    for word in rest:
        if word in VALUES:
            value = next(rest, None)
            if value is None:
                raise click.UsageError(f"{word} needs a value")
            line.flags.setdefault(word, value)  # the first of two wins, as in darknet
        elif word in SWITCHES:
            line.flags[word] = "1"
        elif re.match("-[a-z]", word):
            raise click.UsageError(f"unknown flag {word}{nearest(word, VALUES + SWITCHES)}")
        else:
            line.words.append(word)
    return line


@dataclass(frozen=True, slots=True)
class Job:
    """A command line, and how to load its network."""

    line: Line
    choice: CfgChoice

    def load(self, seed: int = 1) -> Network:
        """The network of the cfg for one stream. The default seed is 1, as in C without srand."""
        return self._load(batch=1, time_steps=1, seed=seed)

    def load_to_train(self, seed: int) -> Network:
        return self._load(seed=seed)

    def _load(self, **options: Any) -> Network:
        """Raises CfgError for a layer that no darknet has, as `CfgChoice.load` does."""
        _, cfg, *weights = self.line.words
        net = self.choice.load(cfg, *weights[:1], **options)
        for layer in net.layers:
            keys = [f"{key}=1" for key in ("reset_after", "elman") if getattr(layer, key, False)]
            for key in [*keys, *(["tied"] if layer.shares is not None else [])]:
                raise CfgError(
                    f"{layer.name}: darknet has no {key}; `minidark train`, `generate`, `valid` "
                    "and `vec` take it",
                    cfg,
                )
        return net

    def names(self, net: Network) -> list[bytes]:
        path = self.line.flags.get("-tokens")
        return byte_names(net.outputs) if path is None else read_token_names(path, net.inputs)


def _train(job: Job) -> None:
    """Train on `-file`, from `weights` or random weights, with a line for each batch on standard
    error. `-srand` is the random seed for initial weights and the starts of streams."""
    cfg = job.line.words[1]
    seed = job.line.integer("-srand", secrets.randbelow(2**31))
    net = job.load_to_train(seed)
    if "-clear" in job.line.flags:
        net.seen = 0
    path = job.line.flags.get("-file", "data/shakespeare.txt")
    with (
        open_text([path], net, "-tokenized" in job.line.flags) as text,
        stoppable() as stop,
        Backups(net, "backup", find_cfg(cfg)) as backups,
    ):
        for doubt in text_doubts(net, [] if text.tokenized else [path]):
            log.warning("%s", doubt)
        o = net.options
        tell(f"Learning Rate: {o.learning_rate:g}, Momentum: {o.momentum:g}, Decay: {o.decay:g}")
        training = train_network(net, text, o.max_batches, seed=seed, valid_fraction=0)
        with stop.before_batches():
            training.rehearse()
        report = follow(training, [DarknetLines(training), backups], stop)
        if report is None:
            backups.save("_final.weights")  # as in darknet, if no batches are left
    if stop.signal and report and not report.last:
        sys.exit(128 + stop.signal)


class DarknetLines(Follower):
    """Prints a line for each batch, with its seconds and the epochs that the weights have seen."""

    def __init__(self, training: Training):
        self.training, self.seconds = training, 0.0

    def after(self, report: StepReport) -> None:
        epochs = self.training.net.seen / self.training.feed.size
        took, self.seconds = report.seconds - self.seconds, report.seconds
        tell(report_line(replace(report, seconds=took, epochs=epochs)))


def _generate(job: Job) -> None:
    _write_sample(job, job.line.seed, echoed=job.line.seed)


def _generatetactic(job: Job) -> None:
    prompt = sys.stdin.buffer.read()
    if not prompt:
        raise DataError("standard input is empty; generatetactic continues the text on it")
    _write_sample(job, prompt, to_full_stop=True)


def _write_sample(
    job: Job, seed: bytes, *, echoed: bytes = b"", to_full_stop: bool = False
) -> None:
    length, temperature = job.line.integer("-len", 1000), job.line.number("-temp", 0.7)
    srand = job.line.integer("-srand", secrets.randbelow(2**31))
    net = job.load(srand)
    names = job.names(net)
    sampler = Sampler(net, temperature, [srand], exact=True)
    sampler.read(seed)
    symbols = sampler.symbols(length)
    if to_full_stop:
        symbols = until_full_stop(symbols)
    text = (names[symbol] for symbol in itertools.chain(echoed, symbols))
    write(whole_characters(itertools.chain(text, [b"\n"])))


def _valid(job: Job) -> None:
    """Measure bytes; with `-tokenized`, integers, without the default seed."""
    net, tokenized = job.load(), "-tokenized" in job.line.flags
    check_symbols(net, tokenized, "-tokenized")
    if not tokenized:
        _print(darknet_rnn.valid_lines(net, sys.stdin.buffer.read(), job.line.seed))
        return
    blocks = token_blocks(sys.stdin.buffer, "standard input", net.inputs)
    tokens = (token for block in blocks for token in block.tolist())
    primer = job.line.seed if "-seed" in job.line.flags else b""
    _print(darknet_rnn.valid_lines(net, tokens, primer, tokenized=True))


def _validtactic(job: Job) -> None:
    net = job.load()
    check_symbols(net, False, "valid -tokenized")
    _print(darknet_rnn.validtactic_lines(net, sys.stdin.buffer.read(), job.line.seed))


def _vec(job: Job) -> None:
    lines = darknet_rnn.vec_lines(job.load(), sys.stdin.buffer, job.line.seed, as_darknet=True)
    write(line + b"\n" for line in lines)


def _print(lines: Iterator[str]) -> None:
    for line in lines:
        say(line)


VERBS: dict[str, Callable[[Job], None]] = {
    "train": _train,
    "generate": _generate,
    "valid": _valid,
    "vec": _vec,
    "generatetactic": _generatetactic,
    "validtactic": _validtactic,
}


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]},
    options_metavar="",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="VERB CFG [WEIGHTS] [FLAGS]")
@cfg_options
def rnn(arguments: tuple[str, ...], choice: CfgChoice) -> None:
    """Run darknet's `rnn` command, with darknet's own flags.

    \b
    minidark rnn train cfg/rnn.train.cfg -file shakespeare.txt
    minidark rnn generate cfg/rnn.cfg shakespeare.weights -srand 0 -seed CLEOPATRA -len 200
    minidark rnn valid cfg/rnn.cfg shakespeare.weights < held-out.txt

    Verbs: train, generate, valid, vec, generatetactic, validtactic. Flags, anywhere on the line:
    -file -seed -srand -len -temp -tokens -tokenized -clear. -i, -gpus and -nogpu are accepted and
    ignored.

    Every digit of the output is the same as darknet's. `rnn` computes on the CPU; for other
    devices, use `train` and `generate` with --device. `rnn` reads no option from the environment,
    so old command lines work as before.
    """
    line = parse_line(list(arguments))
    if len(line.words) < 2:
        raise click.UsageError(
            "rnn needs a verb and a cfg: minidark rnn VERB CFG [WEIGHTS] [FLAGS]"
        )
    verb, *rest = line.words
    if verb not in VERBS:
        raise click.UsageError(
            f"unknown verb {verb!r}{nearest(verb, VERBS)}; the verbs are {', '.join(VERBS)}"
        )
    if len(rest) > 2:
        raise click.UsageError(f"one argument too many: {rest[2]!r}")
    VERBS[verb](Job(line, choice))
