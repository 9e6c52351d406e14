"""Pairs in .csv, .tsv and .jsonl: which cells, which errors, and which rows are skipped."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from minidark import DataError, Pairs
from minidark.data.tables import Columns, Names, two_names

NAMES = ("review", "label")


def write(tmp_path: Path, name: str, data: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def rows(read: Pairs) -> list[tuple[str, str]]:
    return [(s.decode(), t.decode()) for s, t in zip(read.sources, read.targets, strict=True)]


def message(path: Path, columns: Names | None = None, fields: Names | None = None) -> str:
    with pytest.raises(DataError) as error:
        Pairs(path, columns=columns, fields=fields)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


# --- csv and tsv --------------------------------------------------------------------------


def test_cells_are_found_by_the_names_of_their_columns(tmp_path: Path) -> None:
    data = (
        '\ufeffid,label,"the ""review"""\r\n'
        '7,good,"fine, really"\r\n'
        "\r\n"
        '8,"very bad","she said ""no"""\r\n'
        "9,good,\u00e9t\u00e9"
    )
    path = write(tmp_path, "a.csv", data)
    read = Pairs(path, columns=('the "review"', "label"))
    assert rows(read) == [("fine, really", "good"), ('she said "no"', "very bad"), ("été", "good")]
    assert read.line_numbers == [2, 4, 5]
    assert read.blanked == 0


def test_line_breaks_and_tabs_become_blanks_and_are_counted(tmp_path: Path) -> None:
    data = 'review,label\n"one\r\ntwo\nthree",good\nnone,good\n"a\tb\rc","so\nso"\nlast,bad\n'
    read = Pairs(write(tmp_path, "a.csv", data), columns=NAMES)
    assert rows(read) == [
        ("one two three", "good"), ("none", "good"), ("a b c", "so so"), ("last", "bad"),
    ]  # fmt: skip
    assert read.blanked == 2
    assert read.line_numbers == [2, 5, 6, 9]  # a CR alone ends a line too


@pytest.mark.parametrize(("name", "dialect"), [("a.csv", "excel"), ("a.TSV", "excel-tab")])
def test_what_csv_writes_is_read(tmp_path: Path, name: str, dialect: str) -> None:
    cells = [
        ("x", "plain", "1"), ("", "a,b;c", '"'), ("y" * 9, "é 한", "','"), ("", "t" * 200_000, "1"),
    ]  # fmt: skip
    with open(tmp_path / name, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, dialect).writerows([("other", *NAMES), *cells])
    before = csv.field_size_limit()
    read = Pairs(tmp_path / name, columns=NAMES)
    assert rows(read) == [row[1:] for row in cells]
    assert csv.field_size_limit() == before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("text", "line 2 has no 'label'; fill it in, or use --skip-bad"),
        ("text,", "line 2 has an empty 'label'; fill it in, or use --skip-bad"),
        ('" ",good', "line 2 has an empty 'review'; fill it in, or use --skip-bad"),
        ("a,b,good", "line 2 has 3 cells, and the header has 2; quote cells that contain the "
         "delimiter"),
        ('"a"b,good', "line 2 is not csv: ',' expected after '\"'; check its quotes"),
        (b"a\xff,good", "line 2 is not UTF-8: byte 255 at 1"),
    ],
)  # fmt: skip
def test_a_bad_row_is_named_or_skipped(tmp_path: Path, line: str | bytes, expected: str) -> None:
    bad = line if isinstance(line, bytes) else line.encode()
    path = write(tmp_path, "a.csv", b"review,label\n" + bad + b'\n"two\nlines",bad\nx,good\n')
    assert message(path, columns=NAMES) == expected
    read = Pairs(path, columns=NAMES, skip_bad=True)
    assert rows(read) == [("two lines", "bad"), ("x", "good")]
    assert read.line_numbers == [3, 5]
    assert read.skipped == [f"{path}: {expected}"]


def test_a_missing_column_is_named_with_the_columns_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "id,review,lable, rating\n1,a,b,c\n")
    assert message(path, columns=NAMES) == (
        "line 1 has no column 'label' (did you mean 'lable'?); its columns are 'id', 'review', "
        "'lable', ' rating'; name the source and the target with --columns"
    )
    twice = write(tmp_path, "b.csv", "review,label,label\na,b,c\n")
    assert message(twice, columns=NAMES).startswith("line 1 has 2 columns 'label'; its columns")
    with pytest.raises(DataError, match="line 1 has no column"):
        Pairs(path, columns=NAMES, skip_bad=True)


def test_tables_without_pairs_are_refused(tmp_path: Path) -> None:
    assert message(write(tmp_path, "a.csv", ""), columns=NAMES) == (
        "empty; expected a header with the names of columns"
    )
    assert message(write(tmp_path, "b.csv", "review,label\n"), columns=NAMES) == (
        "no rows; expected 'review' and 'label' of at least one pair"
    )
    assert message(write(tmp_path, "c.csv", '"review,label\n'), columns=NAMES) == (
        "line 1 is not a header: unexpected end of data; check its quotes"
    )


def test_another_separator_in_a_cell_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "review,label\na|b,good\n")
    with pytest.raises(DataError, match=r"line 2 contains the separator, '\|'; choose another"):
        Pairs(path, "|", columns=NAMES)


# --- jsonl --------------------------------------------------------------------------------


def test_fields_of_objects_are_pairs(tmp_path: Path) -> None:
    values = [
        {"label": "good", "review": "a,\tb\nc", "more": [1]},
        {"review": "é", "label": 3},
        {"review": "x", "label": True},
        {"review": 1.5, "label": "good"},
    ]
    path = write(tmp_path, "a.jsonl", "\ufeff" + "\r\n\n".join(map(json.dumps, values)))
    read = Pairs(path, fields=NAMES)
    assert rows(read) == [("a, b c", "good"), ("é", "3"), ("x", "true"), ("1.5", "good")]
    assert (read.blanked, read.line_numbers) == (1, [1, 3, 5, 7])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"{", "cannot be read: it is not JSON; expected an object, as in {'review': ...}"),
        (b"[" * 9000, "cannot be read: it is not JSON; expected an object, as in {'review': ...}"),
        (b"[1]", "is not an object; expected one with 'review' and 'label'"),
        (b'{"review": "a", "lable": "b"}', "has no field 'label' (did you mean 'lable'?); its "
         "fields are 'review', 'lable'"),
        (b'{"review": "a", "label": null}', "has an empty 'label'; fill it in, or use --skip-bad"),
        (b'{"review": " ", "label": "b"}', "has an empty 'review'; fill it in, or use --skip-bad"),
        (b'{"review": ["a"], "label": "b"}', "has 'review', which is a list or an object; expected "
         "text or a number"),
        (b'{"review": "\xff", "label": "b"}', "is not UTF-8: byte 255 at 12"),
        (b'{"review": "\\ud800", "label": "b"}', "is not UTF-8: byte 237 at 0"),
        (b'{"review": "\\udcff", "label": "b"}', "is not UTF-8: byte 255 at 0"),
    ],
)  # fmt: skip
def test_a_bad_object_is_named_or_skipped(tmp_path: Path, line: bytes, expected: str) -> None:
    good = b'{"review": "x", "label": "good"}\n'
    path = write(tmp_path, "a.jsonl", good + line + b"\n" + good)
    assert message(path, fields=NAMES) == f"line 2 {expected}"
    read = Pairs(path, fields=NAMES, skip_bad=True)
    assert read.line_numbers == [1, 3]
    assert read.skipped == [f"{path}: line 2 {expected}"]


# --- which files --------------------------------------------------------------------------


def test_the_suffix_decides(tmp_path: Path) -> None:
    table = write(tmp_path, "a.csv", "review,label\na,b\n")
    objects = write(tmp_path, "a.jsonl", '{"text": "a", "class": "b"}\n')
    lines = write(tmp_path, "a.txt", "a\tb\n")
    for path in (table, objects):
        assert rows(Pairs(path, columns=NAMES, fields=("text", "class"))) == [("a", "b")]
    assert message(table, fields=NAMES) == ("fields name values of .jsonl; use --columns for .csv")
    assert message(objects, columns=NAMES) == (
        "columns name cells of .csv and .tsv; use --fields for .jsonl"
    )
    assert message(lines, columns=NAMES).startswith("neither .csv, .tsv nor .jsonl;")
    assert message(table) == (
        "line 1 has no separator; a pair is a source, a tab, a target; --columns SOURCE,TARGET "
        "reads .csv with a header"
    )
    assert message(objects).endswith("; --fields SOURCE,TARGET reads .jsonl")
    with pytest.raises(DataError, match="a table of pairs is one file with both columns"):
        Pairs([table, table], columns=NAMES)
    assert Pairs(write(tmp_path, "a.tsv", "a\tb\n")).sources == [b"a"]


@pytest.mark.parametrize(
    ("text", "names"),
    [("review,label", NAMES), ('"a, b",c', ("a, b", "c")), ('"""a""", b', ('"a"', " b"))],
)
def test_two_names_are_read_and_written(text: str, names: tuple[str, str]) -> None:
    assert two_names(text) == names
    for columns in (Columns(columns=names), Columns(fields=names)):
        (written,) = filter(None, columns.to_json().values())
        assert two_names(written) == names


@pytest.mark.parametrize(
    "text", ["", "a", "a,", ",a", "a,b,c", "a,a", '"a,b', "a\nb,c", "\udcff,a"]
)
def test_other_texts_are_not_two_names(text: str) -> None:
    with pytest.raises(DataError, match="is not two different names, as in review,label"):
        two_names(text)
