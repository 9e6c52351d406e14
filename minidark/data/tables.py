"""Tables of pairs: .csv and .tsv files with a header, and .jsonl files of an object a line.

Two columns, or fields, are the source and the target. csv quoting applies to .csv and .tsv, so a
cell may contain the delimiter and line breaks. A network reads pairs as lines with a separator, so
line breaks and tabs become blanks; `Table.blanked` counts the pairs. Blank lines are ignored.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from minidark.data.identity import Identity
from minidark.errors import DataError, echo, nearest
from minidark.files import schema
from minidark.files.disk import named, open_regular

Names = tuple[str, str]  # of the source and the target
Pair = tuple[bytes, bytes]

DELIMITERS = {".csv": ",", ".tsv": "\t"}
JSONL = ".jsonl"
MARK = b"\xef\xbb\xbf"
BREAKS = re.compile(r"\r\n|[\r\n\t]")
LONGEST_CELL = 2**31 - 1  # characters; csv's own limit is 131,072
MOST_NAMED = 20  # columns that a message lists


@dataclass(frozen=True, slots=True)
class Columns:
    """columns: of .csv and .tsv files. fields: of .jsonl files. Source first; None for neither."""

    columns: Names | None = None
    fields: Names | None = None

    def to_json(self) -> dict[str, str | None]:
        """Both as texts that `two_names` reads."""
        texts = [names and names_text(names) for names in (self.columns, self.fields)]
        return {"columns": texts[0], "fields": texts[1]}

    def of(self, path: Path | str) -> Names | None:
        """The names for this file, or None for a file of lines. Raises DataError for a file that
        they do not fit."""
        suffix = Path(path).suffix.lower()
        if suffix == JSONL and (self.columns or self.fields):
            if self.fields:
                return self.fields
            raise DataError(f"{path}: columns name cells of .csv and .tsv; use --fields for .jsonl")
        if suffix in DELIMITERS and (self.columns or self.fields):
            if self.columns:
                return self.columns
            raise DataError(f"{path}: fields name values of .jsonl; use --columns for {suffix}")
        if self.columns or self.fields:
            raise DataError(
                f"{path}: neither .csv, .tsv nor .jsonl; --columns and --fields are for these "
                "files, and lines of pairs need neither"
            )
        return None


def kind_of(path: Path | str) -> str | None:
    """What names the parts of pairs in this file: "columns", "fields", or None in lines."""
    suffix = Path(path).suffix.lower()
    if suffix == JSONL:
        return "fields"
    return "columns" if suffix in DELIMITERS else None


def hint(path: Path | str) -> str:
    """The end of a message about a table that is read as lines of pairs."""
    suffix = Path(path).suffix.lower()
    if suffix == JSONL:
        return "; --fields SOURCE,TARGET reads .jsonl"
    return f"; --columns SOURCE,TARGET reads {suffix} with a header" if suffix == ".csv" else ""


def two_names(text: str) -> Names:
    """The names in "review,label"; csv quoting protects a comma in a name. Raises DataError."""
    try:
        (names,) = csv.reader([text], strict=True)
        source, target = names
    except (csv.Error, ValueError):
        source = target = ""
    if not source or not target or source == target or not_utf8(_encoded(text)):
        raise DataError(f"{echo(text)} is not two different names, as in review,label")
    return source, target


def names_text(names: Names) -> str:
    """The inverse of `two_names`."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(names)
    return text.getvalue()


@dataclass(slots=True)
class Table:
    """The rows of a file: the number of the line where each begins, and its pair, or a DataError if
    a cell is missing, empty or not text."""

    identity: Identity
    rows: list[tuple[int, Pair | DataError]]
    blanked: int = 0  # pairs with line breaks or tabs


def read_table(path: Path | str, names: Names) -> Table:
    """Raises DataError for a file that cannot be read, is empty or lacks a column."""
    with open_regular(path, named(path, DataError)) as file:
        identity = Identity.of(path, file)
        data = file.read().removeprefix(MARK)
    table = Table(identity, [])
    delimiter = DELIMITERS.get(Path(path).suffix.lower())
    cells = _objects(data, names) if delimiter is None else _cells(path, data, names, delimiter)
    for number, found in cells:
        pair: Pair | DataError
        if isinstance(found, str):
            pair = DataError(f"{path}: line {number} {found}")
        else:
            source, target = (BREAKS.sub(" ", text) for text in found)
            table.blanked += [source, target] != [*found]
            pair = _encoded(source), _encoded(target)
        table.rows.append((number, pair))
    if not table.rows:
        raise DataError(f"{path}: no rows; expected {_named(names)} of at least one pair")
    return table


def not_utf8(line: bytes) -> str | None:
    """A message if the line is not UTF-8."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"is not UTF-8: byte {line[error.start]} at {error.start}"
    return None


def _encoded(text: str) -> bytes:
    """UTF-8; what is invalid in the file, or in JSON's escapes, is invalid in the result."""
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return text.encode(errors="surrogatepass")


Found = Sequence[str] | str  # the source and the target, or a message


def _cells(
    path: Path | str, data: bytes, names: Names, delimiter: str
) -> Iterator[tuple[int, Found]]:
    """The cells in these columns of each row."""
    text = io.StringIO(data.decode(errors="surrogateescape"), newline="")
    rows = csv.reader(text, delimiter=delimiter, strict=True)
    with _longest_cell():
        header = _header(path, rows)
        at = [_column(path, name, header) for name in names]
        while True:
            number = rows.line_num + 1
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, f"is not {Path(path).suffix[1:].lower()}: {error}; check its quotes"
                continue
            if row:
                yield number, _pick(row, at, header)


def _header(path: Path | str, rows: Iterator[list[str]]) -> list[str]:
    """The first row that is not blank."""
    try:
        return next(row for row in rows if row)
    except StopIteration:
        raise DataError(f"{path}: empty; expected a header with the names of columns") from None
    except csv.Error as error:
        raise DataError(f"{path}: line 1 is not a header: {error}; check its quotes") from error


def _pick(row: Sequence[str], at: Sequence[int], header: Sequence[str]) -> Found:
    if len(row) > len(header):
        return (
            f"has {len(row)} cells, and the header has {len(header)}; quote cells that contain the "
            "delimiter"
        )
    for column in at:
        if column >= len(row) or not row[column].strip():
            how = "an empty" if column < len(row) else "no"
            return f"has {how} {echo(header[column])}{FILL}"
    return [row[column] for column in at]


FILL = "; fill it in, or use --skip-bad"


def _column(path: Path | str, name: str, header: Sequence[str]) -> int:
    count = header.count(name)
    if count == 1:
        return header.index(name)
    how = f"{count} columns" if count else "no column"
    near = "" if count else nearest(name, header)
    raise DataError(
        f"{path}: line 1 has {how} {echo(name)}{near}; its columns are {_list(header)}; name the "
        "source and the target with --columns"
    )


def _list(names: Sequence[str]) -> str:
    more = ["..."] if len(names) > MOST_NAMED else []
    return ", ".join([*map(echo, names[:MOST_NAMED]), *more])


def _named(names: Names) -> str:
    return f"{echo(names[0])} and {echo(names[1])}"


@contextlib.contextmanager
def _longest_cell() -> Iterator[None]:
    before = csv.field_size_limit(LONGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _objects(data: bytes, names: Names) -> Iterator[tuple[int, Found]]:
    """The values of these fields in each line."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield number, _values(line, names)


def _values(line: bytes, names: Names) -> Found:
    if message := not_utf8(line):
        return message
    try:
        value = schema.parse(line)
    except ValueError as error:
        return f"cannot be read: {error}; expected an object, as in {{{echo(names[0])}: ...}}"
    if not isinstance(value, dict):
        return f"is not an object; expected one with {_named(names)}"
    texts = []
    for name in names:
        if name not in value:
            near = nearest(name, value)
            return f"has no field {echo(name)}{near}; its fields are {_list([*value])}"
        text = _text(value[name])
        if text is None:
            return f"has {echo(name)}, which is a list or an object; expected text or a number"
        if not text.strip():
            return f"has an empty {echo(name)}{FILL}"
        texts.append(text)
    return texts


def _text(value: object) -> str | None:
    """A text, or a number or truth value as JSON writes it; "" for null, None for the others."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | dict):
        return None
    return "" if value is None else json.dumps(value)
