"""An experiment file in YAML, and its runs.

    cfg: rnn                      # file or bare name of a cfg
    data: [a.txt, b.txt]          # one text, from one file or several
    folder: runs/width            # folder of the runs, inside the current folder;
                                  # default: runs/NAME-OF-THIS-FILE
    options: {batches: 500}       # options of train by their names
    set: {gru.output: [128, 256]} # values for --set
    seeds: [1, 2, 3]

Lists make a sweep over all combinations of their values. Each run has its own folder, named by its
values. `experiment.json` in this folder names the experiment file and the values of the run. It
prevents other experiments from resuming the run.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from minidark.cfg.plan import plan_cfg
from minidark.cfg.source import read_source
from minidark.cli.command import long_name
from minidark.cli.commands.train import train
from minidark.errors import (
    OVERRIDDEN,
    CfgError,
    DataError,
    MinidarkError,
    bare,
    echo,
    nearest,
)
from minidark.files import schema, yaml_lines
from minidark.files.disk import open_regular, write_atomically
from minidark.files.shipped import find_cfg
from minidark.files.yaml_lines import Items, Mapping, Node, Scalar
from minidark.training.checkpoint import previous
from minidark.weights.run_folder import base_name

KEYS = ("cfg", "data", "folder", "options", "set", "seeds")
OURS = {  # options that the experiment sets itself, and the key to use instead
    "backup": "; use `folder: ...`",
    "seed": "; use `seeds: ...`",
    "set": "; use `set: ...`",
    "resume": "",
}
NOT_FOR_RUNS = frozenset({"explain", "json", "help", "debug", "quiet", "verbose"})
FLAGS = {"true": True, "True": True, "1": True, "false": False, "False": False, "0": False}
CHANGEABLE = frozenset({"batches", "epochs", "patience", "save-every", "tensorboard", "threads"})
CLAIM = "experiment.json"
LARGEST_CLAIM = 1 << 20  # bytes
CLAIMED = schema.Record(
    {"experiment": schema.String(path=True), "words": schema.MapOf(schema.String())}
)
MOST_RUNS = 1000
LONGEST_NAME = 100


@dataclass(frozen=True, slots=True)
class Run:
    """One run. `name` has the values that differ between runs; it is "" for a single run."""

    name: str
    folder: Path
    cfg: str
    data: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]  # the words of each option on a command line
    overrides: tuple[str, ...]
    seed: str | None
    file: str  # path of the experiment file

    @property
    def checkpoint(self) -> Path:
        return self.folder / f"{base_name(find_cfg(self.cfg))}.ckpt"

    @property
    def began(self) -> bool:
        """Whether a checkpoint to resume from exists."""
        return self.checkpoint.exists() or previous(self.checkpoint).exists()

    def arguments(self) -> list[str]:
        """Arguments of `minidark train` that start the run, or resume it if it has a checkpoint."""
        began = self.began
        options = [o for o in self.options if not (began and o[0] in ("--weights", "--clear"))]
        words = [self.cfg, *self.data, *itertools.chain(*options)]
        words += itertools.chain(*(("--set", text) for text in self.overrides))
        words += ["--seed", self.seed] if self.seed else []
        words += ["--backup", str(self.folder)]
        return [*words, "--resume", "auto"] if began else words

    def words(self) -> dict[str, str]:
        """The values of the run, by their names in the experiment file."""
        options = {o[0].removeprefix("--"): o[-1].removeprefix("--") for o in self.options}
        return {
            "cfg": self.cfg,
            "data": " ".join(self.data),
            **{name: value for name, value in options.items() if name not in CHANGEABLE},
            **dict(text.split("=", 1) for text in self.overrides),
            **({"seed": self.seed} if self.seed else {}),
        }

    def claim(self) -> None:
        """Write the experiment's claim to the folder, unless it has one. Raises MinidarkError."""
        path = self.folder / CLAIM
        if path.exists():
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MinidarkError(f"{self.folder}: cannot write: {error.strerror}") from error
        claim = {"experiment": self.file, "words": self.words()}
        write_atomically(path, [json.dumps(claim, indent=1).encode(), b"\n"])

    def claimed(self) -> tuple[str, dict[str, Any]] | None:
        """The experiment file and the values in the claim; None without a valid claim."""
        with (
            contextlib.suppress(MinidarkError, ValueError),
            open_regular(self.folder / CLAIM, MinidarkError) as file,
        ):
            claim = schema.parse(file.read(LARGEST_CLAIM))
            if not schema.mistake(claim, CLAIMED):
                return claim["experiment"], claim["words"]
        return None


def read_experiment(path: Path | str, anywhere: bool = False) -> list[Run]:
    """The runs of a file. Checks options, cfgs with overrides, and texts before any run starts.
    anywhere: the folder may be outside the current one. Raises CfgError and DataError with the
    line in the file."""
    with open_regular(path, lambda message: CfgError(message, path)) as file:
        tree = yaml_lines.load(file.read(yaml_lines.LARGEST + 1), path)
    return _Experiment(path, tree, anywhere).runs()


Axis = list[tuple[str, Scalar]]  # a key with its values; a run has one of them


class _Experiment:
    def __init__(self, path: Path | str, tree: Node, anywhere: bool):
        self.path, self.anywhere = path, anywhere
        self.tree = self._mapping(tree, "an experiment")
        self._known(self.tree, KEYS, "an experiment")
        for key in ("cfg", "data"):
            if key not in self.tree:
                raise CfgError(f"an experiment needs `{key}: ...`", path, self.tree.line)
        self.options, self.set = (
            self._mapping(self.tree.get(key, Mapping(0)), key) for key in ("options", "set")
        )
        self._known(self.options, _train_options(), "options")

    def runs(self) -> list[Run]:
        """All runs, in order. Checks their number before it builds any."""
        swept = [("cfg", self.tree["cfg"]), *self.options.items(), *self.set.items()]
        swept += [("seed", self.tree["seeds"])] if "seeds" in self.tree else []
        count = math.prod(len(node) for _, node in swept if isinstance(node, Items))
        if count > MOST_RUNS:
            raise self._wrong(f"{count:,} runs; the limit is {MOST_RUNS:,}", self.tree)
        self._check_folder()
        axes = [self._axis(key, node) for key, node in swept]
        runs = [self._run(dict(chosen), axes) for chosen in itertools.product(*axes)]
        self._check_names(runs)
        self._check_data()
        for run in runs:
            self._check(run)
        return runs

    def _run(self, chosen: dict[str, Scalar], axes: Sequence[Axis]) -> Run:
        name = _name((key, chosen[key]) for axis in axes for key in [axis[0][0]] if len(axis) > 1)
        folder = self._text("folder") or f"runs/{Path(self.path).stem}"
        options = [self._option(key, chosen[key]) for key in self.options]
        return Run(
            name=name,
            folder=Path(folder, name) if name else Path(folder),
            cfg=str(chosen["cfg"]),
            data=self._data(),
            options=tuple(filter(None, options)),
            overrides=tuple(f"{key}={_plain(chosen[key])}" for key in self.set),
            seed=str(chosen["seed"]) if "seeds" in self.tree else None,
            file=str(self.path),
        )

    # --- reading the file ----------------------------------------------------------

    def _mapping(self, node: Node, what: str) -> Mapping:
        if not isinstance(node, Mapping):
            raise self._wrong(f"{what} must be a mapping, `key: value`", node)
        return node

    def _known(self, mapping: Mapping, known: Iterable[str], what: str) -> None:
        """Raise CfgError at the first key that is unknown or does not belong here."""
        names = [name for name in known if name not in NOT_FOR_RUNS]
        for key, line in mapping.lines.items():
            if mapping is not self.tree and key in OURS:
                raise CfgError(f"{key} cannot be set here{OURS[key]}", self.path, line)
            if key not in names:
                message = f"unknown key {echo(key)} in {what}{nearest(key, names)}"
                raise CfgError(message, self.path, line)

    def _axis(self, key: str, node: Node) -> Axis:
        """The values of a key: a single one, or those of a list."""
        values = node if isinstance(node, Items) else [node]
        items = [item for item in values if isinstance(item, Scalar) and item]
        if not items or len(items) < len(values):
            raise self._wrong(f"{bare(key)} must be a value, or a list of values for a sweep", node)
        seen: set[int | str] = set()
        for item in items:
            value = _number(item) if key == "seed" else item
            if value in seen:
                message = f"{bare(key)} contains {echo(str(item))} twice"
                raise CfgError(message, self.path, item.line)
            seen.add(value)
        return [(key, item) for item in items]

    def _text(self, key: str) -> str | None:
        node = self.tree.get(key)
        if node is not None and not (isinstance(node, Scalar) and node):
            raise self._wrong(f"{key} must be a text", node)
        return None if node is None else str(node)

    def _data(self) -> tuple[str, ...]:
        return tuple(str(item) for _, item in self._axis("data", self.tree["data"]))

    def _option(self, key: str, value: Scalar) -> tuple[str, ...]:
        if not _train_options()[key].is_flag:
            return (f"--{key}", str(value))
        if value not in FLAGS:
            raise CfgError(f"{key}={echo(str(value))} is not true or false", self.path, value.line)
        return (f"--{key}",) if FLAGS[value] else ()

    # --- checking the runs ------------------------------------------------------------

    def _check_names(self, runs: Sequence[Run]) -> None:
        by_folder: dict[Path, str] = {}
        for run in runs:
            other = by_folder.setdefault(run.folder, run.name)
            if other is not run.name:
                raise self._wrong(f"two runs would use the folder {run.folder}", self.tree)

    def _check_folder(self) -> None:
        """Raise CfgError for a folder outside the current one, where a file from somebody else must
        not write."""
        folder = self._text("folder")
        if folder is None or self.anywhere:
            return
        inside = os.path.normpath(folder)
        if os.path.isabs(folder) or inside == os.pardir or inside.startswith(os.pardir + os.sep):
            message = f"folder {bare(folder)} is outside the current folder; --anywhere allows it"
            raise CfgError(message, self.path, self._lines("folder")[0])

    def _check_data(self) -> None:
        for name, line in zip(self._data(), self._lines("data"), strict=True):
            if not Path(name).is_file():
                raise DataError(f"{self.path}:{line}: {bare(name, LONGEST_NAME)}: no such file")

    def _check(self, run: Run) -> None:
        try:
            train.make_context("train", run.arguments())
        except click.BadParameter as error:
            line = self._line_of_option(error.param)
            raise CfgError(error.format_message().rstrip("."), self.path, line) from error
        except click.UsageError as error:
            raise self._wrong(error.format_message().rstrip("."), self.tree) from error
        self._check_cfg(run)
        self._check_claim(run)

    def _check_claim(self, run: Run) -> None:
        """Raise CfgError if another experiment with other values has claimed the folder."""
        other, theirs = run.claimed() or (run.file, {})
        if os.path.realpath(other) == os.path.realpath(run.file):
            return  # `train` reports what has changed in the file
        ours = run.words()
        for key in {**theirs, **ours}:
            if ours.get(key) != theirs.get(key):
                line = self._lines("folder")[0] if "folder" in self.tree else self.tree.line
                raise CfgError(
                    f"{run.folder} contains a run of {bare(other)} with {_setting(key, theirs)}, "
                    f"but this run has {_setting(key, ours)}; use another `folder: ...`",
                    self.path,
                    line,
                )

    def _line_of_option(self, param: click.Parameter | None) -> int:
        if param is None:
            return self.tree.line
        if param.name == "seed":
            return self._lines("seeds")[0]
        return self.options.lines.get((param.name or "").replace("_", "-"), self.tree.line)

    def _check_cfg(self, run: Run) -> None:
        """Raise CfgError at the line of the cfg, or at the first wrong key of `set`."""
        try:
            cfg = find_cfg(run.cfg)
            data = read_source(cfg)
        except CfgError as error:
            line = self._lines("cfg")[0]
            raise CfgError(f"{run.cfg}: {error.message}", self.path, line) from error
        given = {o[0]: o[-1] for o in run.options}
        length = "1" if "--epochs" in given else given.get("--batches")
        batches = [f"net.max_batches={length}"] if length else []
        whole = _mistake(data, cfg, [*run.overrides, *batches])
        for upto, key in enumerate([None, *self.set] if whole else []):
            wrong = _mistake(data, cfg, [*run.overrides[:upto], *batches])
            if whole and wrong and wrong.message == whole.message:
                if key is None:
                    raise wrong
                raise CfgError(f"{key}: {wrong.message}", self.path, self.set.lines[key])

    def _lines(self, key: str) -> list[int]:
        node = self.tree[key]
        return [item.line for item in node] if isinstance(node, Items) else [node.line]

    def _wrong(self, message: str, node: Node) -> CfgError:
        return CfgError(message, self.path, node.line)


def _train_options() -> dict[str, click.Option]:
    """The options of `minidark train`, by long names without dashes."""
    return {long_name(param): param for param in train.params if isinstance(param, click.Option)}


def _setting(key: str, words: dict[str, Any]) -> str:
    return bare(f"{key}={words[key]}") if key in words else f"no {key}"


def _plain(value: Scalar) -> str:
    """The value as in a cfg: 1 and 0 for true and false."""
    return str(int(FLAGS[value])) if value.plain and value in FLAGS else str(value)


def _name(values: Iterator[tuple[str, Scalar]]) -> str:
    """A folder name such as "gru.output=128,seed=1", valid on every file system."""
    parts = (f"{key}={Path(value).stem if key == 'cfg' else value}" for key, value in values)
    return re.sub(r"[^A-Za-z0-9._=,+-]", "_", ",".join(parts))[:LONGEST_NAME].strip(".")


def _mistake(data: bytes, cfg: Path, overrides: Sequence[str]) -> CfgError | None:
    try:
        plan_cfg(data, cfg, warn=_only_overridden, overrides=overrides)
    except CfgError as error:
        return error
    return None


def _only_overridden(message: str, line: int) -> None:
    """Reject overrides without effect: all runs of the sweep would be the same."""
    if line == OVERRIDDEN:
        raise CfgError(message, None, OVERRIDDEN)


def _number(seed: str) -> int | str:
    """The seed as a number, because 1, 01 and +1 are the same."""
    try:
        return int(seed)
    except ValueError:
        return seed
