"""Find values in files, and write files anew with pseudonyms: row for row, line for line, and otherwise byte for byte.

Text is replaced wherever it stands. What may mean somebody else in another row is replaced only in given cells.
"""

from __future__ import annotations

import codecs
import contextlib
import gzip
import hashlib
import io
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from granary.loader import csv_records, json_records, names, records, streams, table_files
from granary.loader.csv_records import CsvReader, Dialect
from granary.loader.landing import LandingFile
from granary.loader.table_files import TypedTable
from granary.privacy.person import Cell, Finder
from granary.project import GranaryError, check_packages
from granary.text import column_name

TEXT = (
    ".csv", ".tsv", ".txt", ".json", ".jsonl", ".ndjson", ".html", ".htm", ".xml", ".md", ".yml", ".yaml", ".sql",
    ".log",
)  # fmt: skip
UNREADABLE = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile)  # what damaged files raise
BLOCK = 1 << 20
SPACE = re.compile(r"[ \t\r\n]*")
LINES = (".csv", ".tsv", ".txt")
IN_PSEUDONYMS = re.compile(rb"[A-Za-z0-9]")  # which a file can't take if it separates its fields with one of these

Cells = Mapping[int, Mapping[str, Cell]]  # by the number of the row in its file, and the column


def format_of(path: Path) -> tuple[str, str]:
    """Return what a file is called for, such as .csv, and its compression, or nothing."""
    name = path.name.lower()
    compression = next((suffix for suffix in streams.UNPACK if name.endswith(suffix)), "")
    return Path(name.removesuffix(compression)).suffix, compression


# -- Finding -----------------------------------------------------------------------------------------------------------


def count(file: LandingFile, finder: Finder) -> int:
    """Return how often values are in a file. Raises GranaryError if it can't be read."""
    kind, compression = format_of(file.path)
    try:
        if kind == ".parquet":
            with table_files.parquet(file) as table:
                found = sum(finder.found(value) for row in table.rows for value in row if value)
            return found or finder.found(file.path.read_bytes().decode("utf-8", "replace"))  # also names of columns
        if kind == ".xlsx":
            with zipfile.ZipFile(file.path) as archive:
                return sum(finder.found(archive.read(name).decode("utf-8", "replace")) for name in archive.namelist())
        with opened(file, compression) as (_, _, stream):
            return sum(finder.found(text) for text in blocks(stream))
    except UNREADABLE as error:
        raise GranaryError(f"{file.relative}: can't be read: {error}: repair the file, or remove it") from None


def blocks(stream: io.BufferedReader) -> Iterator[str]:
    """Yield text, cut at the ends of lines."""
    while block := stream.read(BLOCK):
        yield (block + stream.readline()).decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def opened(file: LandingFile, compression: str) -> Iterator[tuple[bytes, str, io.BufferedReader]]:
    """Yield a file's byte order mark, its encoding, and a stream of the rest in UTF-8.

    A byte that the encoding doesn't have stays as it is.
    """
    with file.path.open("rb") as source, contextlib.ExitStack() as stack:
        stream = source
        if compression:
            content = stack.enter_context(streams.UNPACK[compression](file, source))
            stream = io.BufferedReader(streams.Unpacked(file, content), records.BLOCK)
        start, mark = stream.peek(4)[:4], b""
        encoding = codecs.lookup((file.entity and file.entity.format.get("encoding")) or "utf-8").name
        for each, name in ((codecs.BOM_UTF8, "utf-8"), *streams.WIDE_ENCODINGS):
            if start.startswith(each):
                mark = stream.read(len(each))
                encoding = name if name == "utf-8" else f"{name}-{'le' if each[0] == 0xFF else 'be'}"
                break
        if encoding not in ("utf-8", "utf-8-sig", "ascii"):
            stream = io.BufferedReader(streams.Transcoded(file, stream, encoding), records.BLOCK)
        yield mark, encoding, stream


# -- Writing -----------------------------------------------------------------------------------------------------------


def write(file: LandingFile, finder: Finder, cells: Cells, target: Path) -> int:
    """Write a file anew to a place beside it; return how many values are replaced.

    Raises GranaryError, and leaves nothing, if the file can't be written so that only these values change.
    """
    kind, compression = format_of(file.path)
    try:
        with target.open("wb") as output:
            if kind in WRITERS:
                done = WRITERS[kind](file, finder, cells, output)
            elif kind in TEXT:
                done = write_text(file, finder, cells, kind, compression, output)
            else:
                raise GranaryError(
                    f"{file.relative}: Granary can't rewrite files of this kind: remove it, or the values"
                )
            output.flush()
            os.fsync(output.fileno())
        shutil.copymode(file.path, target)
        if rest := count(LandingFile(target.parent, target.name, file.entity), finder):
            raise GranaryError(f"{file.relative}: {rest} values would be left where Granary can't replace them")
        return done
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, UNREADABLE):
            raise GranaryError(f"{file.relative}: can't be rewritten: {error}: repair the file, or remove it") from None
        raise


def write_text(file: LandingFile, finder: Finder, cells: Cells, kind: str, compression: str, output: BinaryIO) -> int:
    """Write text with pseudonyms, in the encoding and the compression that it has."""
    if file.entity and kind in LINES and IN_PSEUDONYMS.search(b"".join(csv_records.dialect_of(file)[:2])):
        raise GranaryError(f"{file.relative}: a letter or a digit separates its fields: no pseudonym fits")
    kept, total, missing = hashlib.sha256(), 0, {(number, column) for number, row in cells.items() for column in row}
    with opened(file, compression) as (mark, encoding, stream), packed(file, compression, output) as packer:
        packer.write(mark)
        kept.update(mark)
        for before, after, done in pieces(file, kind, compression, stream, cells):
            missing -= done
            text, replaced = finder.replaced(after)
            total += replaced + len(done)
            packer.write(text.encode(encoding, "surrogateescape"))
            kept.update(before.encode(encoding, "surrogateescape"))
    if missing:
        number, column = min(missing)
        raise GranaryError(f"{file.relative}, line {number}: {column} isn't there as it was loaded: nothing is changed")
    if kept.digest() != content_hash(file, compression):
        raise GranaryError(f"{file.relative}: other bytes would change, too: please report this")
    return total


def content_hash(file: LandingFile, compression: str) -> bytes:
    """Return the SHA-256 of what a file holds, unpacked."""
    found = hashlib.sha256()
    with file.path.open("rb") as source, contextlib.ExitStack() as stack:
        content = stack.enter_context(streams.UNPACK[compression](file, source)) if compression else source
        while block := content.read(BLOCK):
            found.update(block)
    return found.digest()


@contextlib.contextmanager
def packed(file: LandingFile, compression: str, output: BinaryIO) -> Iterator[Any]:
    """Yield what compresses into a file as the delivered one is compressed; the same content gives the same bytes."""
    if compression == ".gz":
        with gzip.GzipFile("", "wb", fileobj=output, mtime=0) as packer:
            yield packer
    elif compression == ".zst":
        from backports import zstd  # which has read the file before

        with zstd.ZstdFile(output, "wb") as packer:
            yield packer
    elif compression == ".zip":
        with zipfile.ZipFile(file.path) as archive:
            (member,) = (each for each in archive.infolist() if not each.is_dir())
        new = zipfile.ZipInfo(member.filename, member.date_time)
        new.compress_type, new.external_attr = member.compress_type, member.external_attr
        with zipfile.ZipFile(output, "w") as archive, archive.open(new, "w", force_zip64=True) as packer:
            yield packer
    else:
        yield output


def pieces(
    file: LandingFile, kind: str, compression: str, stream: io.BufferedReader, cells: Cells
) -> Iterator[tuple[str, str, set[tuple[int, str]]]]:
    """Yield the text of a file piece by piece: as it is, with the cells replaced, and which of these it has.

    Rows have the numbers that the loader gives them.
    """
    if not cells:
        for text in blocks(stream):
            yield text, text, set()
    elif kind in LINES:
        yield from csv_pieces(file, compression, stream, cells)
    else:
        yield from json_pieces(file, kind, stream, cells)


def csv_pieces(
    file: LandingFile, compression: str, stream: io.BufferedReader, cells: Cells
) -> Iterator[tuple[str, str, set[tuple[int, str]]]]:
    """Yield the records of CSV as `pieces` does, after its header."""
    with opened(file, compression) as (_, _, beginning):
        header = csv_records.read_header(file, beginning)
    columns = names.columns_of(header.names, file.entity, file.relative, header.lines)
    text = b"".join(stream.readline() for _ in range(header.lines)).decode("utf-8", "surrogateescape")
    yield text, text, set()
    reader = CsvReader(stream, header.names, header.lines + 1, header.dialect)
    while record := reader.record():
        text = after = record.text.decode("utf-8", "surrogateescape")
        row = cells.get(record.number) or {}
        if row:
            after = with_fields(text, header.dialect, {columns.index(column): cell for column, cell in row.items()})
        yield text, after or text, {(record.number, column) for column in row} if after else set()


def with_fields(text: str, dialect: Dialect, cells: Mapping[int, Cell]) -> str | None:
    """Return a record of CSV with the fields replaced at these places; None if they aren't as they were loaded."""
    quote = dialect.quote.decode()
    fields = [*spans(text, dialect.delimiter.decode(), quote, dialect.skip_initial_space)]
    for place, cell in sorted(cells.items(), reverse=True):
        start, end = fields[place] if place < len(fields) else (0, 0)
        field, spelling = text[start:end], cell.spelling.replace(quote, quote * 2)
        if spelling not in field:  # in a field without quotes, one stands for itself
            spelling = cell.spelling
        if spelling not in field:
            return None
        text = text[:start] + field.replace(spelling, cell.value.replacement(cell.spelling), 1) + text[end:]
    return text


def spans(text: str, delimiter: str, quote: str, skip_initial_space: bool) -> Iterator[tuple[int, int]]:
    """Yield where each field of a record begins and ends, with its quotes."""
    at, end = 0, len(text.rstrip("\r\n"))
    while True:
        start = at
        while skip_initial_space and text[at : at + 1] == " ":
            at += 1
        if text.startswith(quote, at):
            at += 1
            while (at := text.find(quote, at) + 1) and text.startswith(quote, at):
                at += 1
            if not at:
                return  # never closed: no row
        stop = text.find(delimiter, at, end)
        yield start, stop if stop >= 0 else end
        if stop < 0:
            return
        at = stop + 1


def json_pieces(
    file: LandingFile, kind: str, stream: io.BufferedReader, cells: Cells
) -> Iterator[tuple[str, str, set[tuple[int, str]]]]:
    """Yield the objects of JSON as `pieces` does, and what is between them."""
    content = stream.read()
    text, at, last = content.decode("utf-8", "surrogateescape"), 0, 0
    again = io.BufferedReader(io.BytesIO(content))
    found = json_records.json_records(file, again) if kind == ".json" else json_records.json_lines(again, lambda _: b"")
    for record in found:
        if not record.text.strip():
            continue
        last = max(record.number, last + 1)
        own = record.text.decode("utf-8", "surrogateescape")
        start = text.index(own, at)
        row = cells.get(last) or {}
        after = with_members(own, row) if row else None
        before, at = text[at : start + len(own)], start + len(own)
        yield before, before[: -len(own)] + (after or own), {(last, column) for column in row} if after else set()
    yield text[at:], text[at:], set()


def with_members(text: str, cells: Mapping[str, Cell]) -> str | None:
    """Return a JSON object with the values of these columns replaced; None if they aren't as they were loaded."""
    decoder, done = json.JSONDecoder(strict=False), set()
    at = text.index("{") + 1
    while text[at := SPACE.match(text, at).end()] != "}":
        key, at = decoder.raw_decode(text, at)
        start = SPACE.match(text, text.index(":", at) + 1).end()
        value, at = decoder.raw_decode(text, start)
        cell = cells.get(column_name(key))
        if cell and value is not None and cell.delivered in (value, text[start:at]):
            new = cell.new
            if isinstance(value, str):
                new = json.dumps(cell.new, ensure_ascii=text[start:at].isascii())
            text, at = text[:start] + new + text[at:], start + len(new)
            done.add(column_name(key))
        at = SPACE.match(text, at).end()
        at += text[at] == ","
    return text if done == cells.keys() else None


# -- Typed tables ------------------------------------------------------------------------------------------------------


def write_parquet(file: LandingFile, finder: Finder, cells: Cells, output: BinaryIO) -> int:
    """Write a Parquet file with pseudonyms, its columns with the types that they have."""
    check_packages("formats", None, "pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    total = 0
    try:
        with pq.ParquetFile(file.path) as source:
            compression = source.metadata.row_group(0).column(0).compression if source.num_row_groups else "snappy"
            table = source.read()
    except (pa.ArrowException, OSError) as error:
        raise GranaryError(f"{file.relative}: can't be read as Parquet: {error}: repair it, or remove it") from None
    for place, name in enumerate(table.column_names):
        column, field = table.column(place), table.schema.field(place)
        values = column.to_pylist()
        own = {number - 1: row[column_name(name)] for number, row in cells.items() if column_name(name) in row}
        changed = 0
        for index, value in enumerate(values):
            new = value
            if index in own:
                new = type(value)(own[index].new)
                changed += 1
            if isinstance(new, str):
                new, replaced = finder.replaced(new)
                changed += replaced
            values[index] = new
        if changed:
            total += changed
            table = table.set_column(place, field, pa.array(values, type=field.type))
    pq.write_table(table, output, compression=compression)
    output.flush()
    check_table(file, Path(output.name), finder, cells)
    return total


def write_excel(file: LandingFile, finder: Finder, cells: Cells, output: BinaryIO) -> int:
    """Write an Excel file with pseudonyms. Raises GranaryError if it has formulas, whose results would be lost."""
    check_packages("formats", None, "openpyxl")
    import openpyxl

    with table_files.reading_excel(file):
        book = openpyxl.load_workbook(file.path)
    total = 0
    name = file.entity and file.entity.format.get("sheet")
    with contextlib.ExitStack() as stack:
        columns = names_of(stack.enter_context(table_files.excel(file)), file) if cells else []
    for sheet in book.worksheets:
        is_own = sheet.title == name or len(book.worksheets) == 1
        for number, row in enumerate(sheet.iter_rows(), 1):
            for place, each in enumerate(row):
                if each.data_type == "f":
                    raise GranaryError(
                        f"{file.relative}: {sheet.title}!{each.coordinate} is a formula, whose result would be lost:"
                        " replace the formulas of the file by their values, and load it with bin/ingest --replace"
                    )
                own = cells.get(number, {}).get(columns[place]) if is_own and place < len(columns) else None
                if own:
                    each.value, total = type(each.value)(own.new), total + 1
                if isinstance(each.value, str):
                    each.value, replaced = finder.replaced(each.value)
                    total += replaced
    book.save(output)
    output.flush()
    check_table(file, Path(output.name), finder, cells)
    return total


def names_of(table: TypedTable, file: LandingFile) -> list[str]:
    """Return the columns of a table in a file."""
    return names.columns_of(table.names, file.entity, file.relative, table.rows_before)


def check_table(file: LandingFile, new: Path, finder: Finder, cells: Cells) -> None:
    """Raise GranaryError unless a rewritten table is the old one with pseudonyms, row for row."""
    if not file.entity:
        return
    reader = table_files.READERS[file.format]
    with reader(file) as before, reader(file._replace(root=new.parent, name=new.name)) as after:
        columns = names_of(before, file)
        for number, old in enumerate(before.rows, before.rows_before + 1):
            for column, cell in cells.get(number, {}).items():
                old[columns.index(column)] = cell.new
            expected = [value and finder.replaced(value)[0] for value in old]
            if next(after.rows, None) != expected:
                raise GranaryError(f"{file.relative}, row {number}: other values would change, too")
        if next(after.rows, None) is not None:
            raise GranaryError(f"{file.relative}: it would have more rows than before")


WRITERS = {".parquet": write_parquet, ".xlsx": write_excel}
