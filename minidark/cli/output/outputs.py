"""Output files, and which existing files a command may overwrite.

A command replaces its earlier output, which is a file of the same form. Overwriting any other file
needs --force, and so does overwriting a cfg, which may be written by hand.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click

from minidark.convert import CFGS
from minidark.errors import MinidarkError
from minidark.files.archives import NPZ, SAFETENSORS
from minidark.files.disk import check_writable, open_regular
from minidark.weights.header import LARGEST_VERSION, VERSION_BYTES
from minidark.weights.made_with import beside

CFG, PAGE = ".cfg", ".html"  # forms of cfgs and pages, for any suffix
HEAD = 4096  # bytes that identify the form of a file

force_option = click.option(
    "--force", is_flag=True, help="Overwrite any existing file, not only earlier output."
)


def check_output(
    output: str | None, *others: str | Path | None, form: str | None = None, force: bool = False
) -> None:
    """Check `output` before the work starts. `form` None: the form of its suffix. Raises UsageError
    if `output` is an input of the command, is not a file, or exists with another form (unless
    `force`); SaveError if it cannot be written."""
    check_place(output, *others)
    if output and not force and (problem := _problem_of_existing(output, form)):
        raise click.UsageError(f"{output} exists and {problem}; --force overwrites it")


def check_cfg_output(output: str, data: bytes, force: bool) -> None:
    """Raise UsageError if the file exists with bytes other than `data`, unless `force`."""
    with suppress(OSError):
        if Path(output).read_bytes() == data:
            return
    check_output(output, form=CFG, force=force)


def check_place(output: str | None, *others: str | Path | None) -> None:
    """Like `check_output`, but without reading `output`."""
    if output == "":
        raise click.UsageError("the name of the output file is empty")
    if output == "-":
        raise click.UsageError("- is not supported here: write to a file")
    for other in others:
        if output and other and str(other) != "-" and _same(output, other):
            raise click.UsageError(f"{output} is an input of this command; write to another file")
    if output:
        check_writable(output)


def _problem_of_existing(output: str, form: str | None) -> str | None:
    """Why an existing file must not be overwritten; None for no file or an earlier output."""
    form = form or Path(output).suffix.lower()
    try:
        with open_regular(output, MinidarkError) as file:
            head = file.read(HEAD)
            size = file.seek(0, os.SEEK_END)
    except MinidarkError:
        return None if not os.path.lexists(output) else "cannot be read"
    if not size:
        return None
    if form in CFGS:
        return "may be written by hand"
    known, name = FORMS.get(form, (_is_weights, "weights"))
    if not known(head, size):
        return f"is not an earlier output: it does not contain {name}"
    if name == "weights" and beside(output).exists():
        return f"belongs to a training run, as {beside(output)} shows"
    return None


def _is_weights(head: bytes, size: int) -> bool:
    """darknet's form: a version, `seen`, then numbers of four bytes."""
    if len(head) < VERSION_BYTES + 4 or size % 4:
        return False
    return all(0 <= number < LARGEST_VERSION for number in struct.unpack_from("<3i", head))


def _is_safetensors(head: bytes, size: int) -> bool:
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size


def _is_zip(head: bytes, size: int) -> bool:
    return head.startswith(b"PK\x03\x04")


def _is_onnx(head: bytes, size: int) -> bool:
    """The file starts with the version of its format, field 1 of the message."""
    return head.startswith(b"\x08")


def _is_python(head: bytes, size: int) -> bool:
    return head.startswith(b'"""A network by minidark ')


def _is_page(head: bytes, size: int) -> bool:
    """Detected by the content security policy that `report.pages` writes."""
    return head.startswith(b"<!doctype html>") and b"script-src &#39;sha256-" in head


Known = Callable[[bytes, int], bool]
FORMS: dict[str, tuple[Known, str]] = {  # by suffix; other suffixes mean darknet's weights
    SAFETENSORS: (_is_safetensors, "weights"),
    NPZ: (_is_zip, "weights"),
    ".keras": (_is_zip, "a Keras model"),
    ".onnx": (_is_onnx, "an ONNX model"),
    ".py": (_is_python, "a network that minidark wrote"),
    PAGE: (_is_page, "a page by minidark"),
}


def _same(one: str, other: str | Path) -> bool:
    """Whether two paths name the same file, which may not exist."""
    with suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    with suppress(OSError, ValueError):
        return os.path.realpath(one) == os.path.realpath(other)
    return False
