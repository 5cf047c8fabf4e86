"""csv and tsv: every cell is text as written ("NA" is a word), and a broken line is named."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

from hf_transfer.data.tables import Table, dataset_of
from hf_transfer.problems import Problem, Problems

SHOWN = 5
# Bytes that no encoding of text uses but as half a character.
CONTROL = {*range(9), *range(14, 27), *range(28, 32)}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file (a byte order mark is dropped).

    Raises:
        Problems: the file is not UTF-8, or not text; the line is named.
    """
    content = path.read_bytes()
    try:
        if content.startswith((b"\xff\xfe", b"\xfe\xff")):
            raise Problems(_encoding(path, "the file is UTF-16", "utf-16"))
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        if CONTROL & set(content[:10_000]):
            what = f"not a text file: line {line} holds the byte 0x{content[error.start]:02x}, and others are no text either"
            raise Problems(Problem(str(path), what, "check the file's format")) from error
        found = f"line {line} is not UTF-8 (byte 0x{content[error.start]:02x})"
        raise Problems(_encoding(path, found, "latin-1")) from error
    if "\0" in text:
        if text[1::2].count("\0") > len(text) / 4:
            raise Problems(_encoding(path, "the file looks like UTF-16 without a mark", "utf-16le"))
        line = text[: text.index("\0")].count("\n") + 1
        raise Problems(
            Problem(str(path), f"not a text file: line {line} holds a NUL byte", "check the file's format")
        )
    return text


def _encoding(path: Path, found: str, guess: str) -> Problem:
    mend = f"save it as UTF-8, e.g. iconv -f {guess} -t utf-8 {path.name} > {path.stem}_utf8{path.suffix}"
    return Problem(str(path), f"wrong encoding: {found}, expected UTF-8", mend)


def read_delimited(path: Path) -> Table:
    """A csv or tsv file with a header line, as columns of text.

    A csv may be separated by `,`, `;`, tabs or `|` (seen in its header). A tsv is read with quotes, and where those do
    not work out, without (as GLUE's files are).

    Raises:
        Problems: empty file, wrong encoding, a line with too few or too many fields, a quote that is never closed.
    """
    import pyarrow as pa

    text = read_text(path)
    if not text.strip():
        raise Problems(Problem(str(path), "the file is empty", "expected a header line and rows"))
    try:
        header, rows = _parse(path, text, quoting=csv.QUOTE_MINIMAL)
    except Problems:
        if path.suffix.lower() != ".tsv":
            raise
        header, rows = _parse(path, text, quoting=csv.QUOTE_NONE)
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    arrays = [pa.array(column, pa.string()) for column in columns]
    return Table(dataset_of(pa.table(arrays, names=header)), path.name, typed=False)


def _parse(path: Path, text: str, quoting: Literal[0, 3]) -> tuple[list[str], list[list[str]]]:
    delimiter = _delimiter(path, text.lstrip("\r\n").split("\n", 1)[0])
    limit = csv.field_size_limit(2**31 - 1)
    # newline="" keeps line breaks inside quotes; strict refuses what would silently be misread
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=True)
    rows: list[list[str]] = []
    wrong: list[tuple[int, int]] = []
    line = 1
    try:
        for row in reader:
            if row:
                rows.append(row)
                if len(row) != len(rows[0]):
                    wrong.append((line, len(row)))
            line = reader.line_num + 1
    except csv.Error as error:
        raise Problems(_broken(path, line, text, str(error))) from error
    finally:
        csv.field_size_limit(limit)
    header = _header(path, rows[0], rows[1:])
    if wrong:
        shown = ", ".join(f"line {at} has {fields}" for at, fields in wrong[:SHOWN])
        more = f" and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        what = f"broken lines: the header has {len(header)} fields, {shown}{more}"
        raise Problems(
            Problem(str(path), what, f"put texts that contain {delimiter!r} in double quotes; is it cut?")
        )
    return header, rows[1:]


def _delimiter(path: Path, header: str) -> str:
    if path.suffix.lower() == ".tsv":
        return "\t"
    return next((mark for mark in (",", ";", "\t", "|") if mark in header), ",")


def _broken(path: Path, line: int, text: str, error: str) -> Problem:
    if "unexpected end of data" in error:
        what = (
            f"a quote opened in line {line} is never closed (the file ends in it): cut off, or a stray quote"
        )
    else:
        what = f"line {line} is broken: {error}"
    return Problem(str(path), what, 'double each quote inside a quoted text: "she said ""no"""')


def _header(path: Path, header: list[str], rows: list[list[str]]) -> list[str]:
    names = [name.strip() or f"column_{i}" for i, name in enumerate(header)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        what = f"the header names a column twice: {', '.join(twice)}"
        raise Problems(Problem(str(path), what, "give each column a name of its own"))
    for i, name in enumerate(names):
        if len(rows) > 1 and any(len(row) > i and row[i].strip() == name for row in rows):
            what = f"the first line looks like a row, not a header: column {i + 1} holds {name!r} further down too"
            raise Problems(
                Problem(str(path), what, "put a line with the columns' names first, e.g. text,label")
            )
    return names
