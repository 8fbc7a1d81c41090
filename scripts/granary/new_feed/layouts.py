"""How a file is laid out: its encoding, its delimiter, its header. DuckDB proposes, and the loader then reads it so."""

from __future__ import annotations

import codecs
import contextlib
import csv
import itertools
import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from granary.built import in_quotes
from granary.declared import Entity
from granary.loader import headers, json_records, records, streams, table_files
from granary.loader.landing import LandingFile
from granary.project import GranaryError, check_packages
from granary.text import column_name

SAMPLE = 1 << 20  # bytes that DuckDB looks at
FEW = 0.05  # share of the lines that may be damaged
ROWS = 10_000  # of a file with types that are looked at
OTHER_ENCODING = "windows-1252"  # of what isn't UTF-8: the most common one, and every text can be shown to its owner


@dataclass
class Layout:
    """What a source has to declare of a table's files, and why."""

    format: dict[str, Any] = field(default_factory=dict)
    records: str = ""
    evidence: list[str] = field(default_factory=list)
    is_ascii: bool = True  # so that most encodings are right


def layout_of(path: Path) -> Layout:
    """Return the layout of a file. Raises GranaryError if it is empty, or no text."""
    file = LandingFile(path.parent, path.name, Entity("new", "file", "new__file", (), path))
    if file.format in (".json", ".jsonl", ".ndjson"):
        return layout_of_json(file)
    if file.format == ".xlsx":
        return layout_of_excel(file)
    return Layout() if file.format == ".parquet" else layout_of_text(file)


def layout_of_text(file: LandingFile) -> Layout:
    """Return the layout of lines with fields."""
    layout = Layout()
    sample, others, wrong = b"", 0, []
    with streams.opened(file) as (_, stream):
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        is_over = False
        while not is_over:
            block = stream.read(records.BLOCK)
            is_over = not block
            sample += block if len(sample) < SAMPLE else b""
            if not (text := decoder.decode(block, is_over)).isascii():
                wrong += re.findall("[\udc80-\udcff]", text)
                others += len(re.findall(r"[^\x00-\x7f]", text))
    if not sample.strip():
        raise GranaryError(f"{file.path}: the file is empty")
    layout.is_ascii = not others
    text = sample.decode("utf-8", "ignore")
    if wrong:
        byte = f"byte 0x{ord(wrong[0]) - 0xDC00:02x}"
        if others < 2 * len(wrong):  # most of what isn't ASCII is no UTF-8
            layout.format["encoding"] = OTHER_ENCODING
            text = sample.decode(OTHER_ENCODING, "replace")
            odd = next((word for word in re.findall(r"\w+", text) if not word.isascii()), "")
            layout.evidence.append(f"not UTF-8 ({byte}): read as {OTHER_ENCODING}, which gives {odd!r}")
        else:
            layout.evidence.append(f"UTF-8, but not all of it ({byte}): such lines are rejected")
    if text.lower().startswith(("sep=", '"sep=')):
        layout.evidence.append("the first line names the delimiter")
        return layout
    sniff(text, file, layout)
    return layout


def sniff(text: str, file: LandingFile, layout: Layout) -> None:
    """Add delimiter, quote, lines to skip and missing header, as DuckDB finds them.

    If the header has another delimiter, and all lines have as many of it, that is the right one: DuckDB takes commas in
    values for delimiters.
    """
    text = text[: text.rfind("\n") + 1] or text
    found = sniffed(text, file)
    delimiter, quote, _, skipped, *_ = found
    for start in (0, skipped):
        if (better := delimiter_of_header(text, start, quote, delimiter)) and better != delimiter:
            with contextlib.suppress(GranaryError):
                found = sniffed(text, file, better)
            break
    delimiter, quote, comment, skipped, has_header, columns = found
    default = "\t" if file.format == ".tsv" else ","
    if columns > 1 and (delimiter != default or file.format == ".txt"):
        layout.format["delimiter"] = delimiter
        layout.evidence.append(f"fields are separated by {delimiter!r}, which gives {columns} columns")
    if columns > 1 and quote == "'":
        layout.format["quote"] = quote
    if len(comment or "") == 1 and comment != "\0":
        layout.format["comment"] = comment
    if skipped:
        layout.format["skip_lines"] = skipped
        layout.evidence.append(f"the header is on line {skipped + 1}")
    if not has_header:
        layout.format["header"] = [f"column_{number}" for number in range(1, columns + 1)]
        layout.evidence.append("the first line looks like a row: give the columns names")


def sniffed(text: str, file: LandingFile, delimiter: str = "") -> tuple[Any, ...]:
    """Return what DuckDB finds in a text, where the delimiter may be known.

    Raises GranaryError if no delimiter fits.
    """
    import duckdb

    with (
        tempfile.NamedTemporaryFile("w", suffix=".csv", encoding="utf-8", newline="") as sample,
        duckdb.connect() as connection,
    ):
        sample.write(text)
        sample.flush()
        found = "Delimiter, Quote, Comment, SkipRows, HasHeader, len(Columns)"
        known = f", delim = '{delimiter}'" if delimiter else ""
        query = f"select {found} from sniff_csv({in_quotes(Path(sample.name))}{known})"
        try:
            return connection.execute(query).fetchone()
        except duckdb.Error as error:
            raise GranaryError(f"{file.path}: no delimiter fits: {str(error).splitlines()[0]}") from None


def delimiter_of_header(text: str, start: int, quote: str, sniffed: str) -> str:
    """Return the delimiter that a header has, and of which nearly all lines have as many; nothing if there is none.

    Of several, the one that gives the most columns.
    """
    lines = text.splitlines(keepends=True)[start:]
    widths: dict[str, int] = {}
    for delimiter in dict.fromkeys([sniffed, ";", "\t", "|", ","]):
        if len(delimiter) != 1 or not lines or delimiter not in lines[0]:
            continue
        with contextlib.suppress(csv.Error):
            reader = csv.reader(
                lines, delimiter=delimiter, quotechar=quote if len(quote) == 1 and quote != "\0" else '"'
            )
            counts = [len(fields) for fields in reader if fields]
            if counts[0] > 1 and sum(count < counts[0] for count in counts) <= FEW * len(counts):
                widths[delimiter] = counts[0]
    return max(widths, key=widths.get, default="")


def headers_of(file: LandingFile) -> Mapping[str, str]:
    """Return the names in a file's header by those of the columns; of JSON, by the keys of the first rows."""
    return {column_name(name): name for name in headers.names_in(file)}


def first_rows(file: LandingFile) -> list[dict[str, Any]]:
    """Return the first rows of a file of JSON or of a sheet of Excel, each with its values as they are."""
    if file.format == ".xlsx":
        with table_files.reading_excel(file) as book:
            name, skipped = file.entity.format.get("sheet"), file.entity.format.get("skip_lines") or 0
            rows = (book[name] if name else book.worksheets[0]).iter_rows(skipped + 1, values_only=True)
            names = file.entity.format.get("header") or [str(value) for value in next(rows, [])]
            return [dict(zip(names, row, strict=False)) for row in itertools.islice(rows, ROWS)]
    found = []
    with streams.opened(file) as (_, stream), contextlib.suppress(ValueError, RecursionError):
        is_json = file.format == ".json"
        read = json_records.json_records(file, stream) if is_json else json_records.json_lines(stream, lambda _: b"")
        for record in itertools.islice(read, ROWS):
            row = json.loads(record.text) if record.text.strip() else None
            found += [row] if isinstance(row, dict) else []
    return found


def numeric_columns(file: LandingFile) -> set[str]:
    """Return the columns of a file with types in which the values of the first rows are all numbers, not text."""
    if file.format in (".csv", ".tsv", ".txt"):
        return set()
    if file.format == ".parquet":
        import pyarrow.parquet
        from pyarrow import types

        kinds = (types.is_integer, types.is_floating, types.is_decimal)
        fields = pyarrow.parquet.read_schema(file.path)
        return {column_name(each.name) for each in fields if any(is_kind(each.type) for is_kind in kinds)}
    kinds: dict[str, bool] = {}
    for row in first_rows(file):
        for key, value in row.items():
            if value is not None:
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
                kinds[column_name(key)] = kinds.get(column_name(key), True) and is_number
    return {name for name, is_number in kinds.items() if is_number}


def layout_of_json(file: LandingFile) -> Layout:
    """Return where in an envelope the rows are."""
    if file.format != ".json":
        return Layout()
    with streams.opened(file) as (_, stream):
        try:
            document = json.load(stream)
        except (ValueError, RecursionError):
            return Layout()  # JSON lines, or damaged: the loader says so
    path: list[str] = []
    while isinstance(document, dict):
        lists = [
            key for key, value in document.items() if isinstance(value, list) and value and isinstance(value[0], dict)
        ]
        inner = lists or [key for key, value in document.items() if isinstance(value, dict)]
        if len(inner) != 1:
            return Layout()
        path.append(inner[0])
        document = document[inner[0]]
    return Layout(records=".".join(path), evidence=[f"the rows are in {'.'.join(path)}"] if path else [])


def layout_of_excel(file: LandingFile) -> Layout:
    """Return which sheet is read: the first one."""
    check_packages("formats", None, "openpyxl")
    with table_files.reading_excel(file) as book:
        sheets = [sheet.title for sheet in book.worksheets]
    if len(sheets) < 2:
        return Layout()
    return Layout({"sheet": sheets[0]}, evidence=[f"the first of the sheets {', '.join(sheets)}"])
