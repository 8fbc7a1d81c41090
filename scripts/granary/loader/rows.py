"""From the records of a file to what COPY reads, and what is set aside on the way: rejected lines, and unusual JSON.

A COPY can't be interrupted for another statement. So `pieces` ends where something else comes first, `settle` does it,
and the next COPY goes on, until `is_over`.
"""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from granary import declared
from granary.loader import csv_records, json_records, raw_tables, records
from granary.loader.csv_records import CSV, Dialect, Header
from granary.loader.landing import LandingFile
from granary.loader.names import repeated
from granary.loader.raw_tables import Batch
from granary.loader.records import PlainLines, Problem
from granary.loader.table_files import TypedTable
from granary.project import GranaryError
from granary.text import column_name

ENOUGH_BYTES, ENOUGH_LINES = 1 << 20, 1_000  # as much is set aside, so that memory stays bounded
KEPT_TEXT = 1_000_000  # characters of a rejected line that are kept
SHOWN = 3  # rejected lines in the error for a file of which too many are


class Rows:
    """The rows of a file, and what is known of its lines so far."""

    def __init__(self, file: LandingFile, batch: Batch, columns: Iterable[str] = ()) -> None:
        self.file, self.batch = file, batch
        self.columns = dict.fromkeys(columns)  # in order
        self.dialect = CSV  # of what COPY reads
        self.new_columns: list[str] = []
        self.limits = declared.reject_limits(file.entity)
        self.rejected: list[tuple[int, str, Problem]] = []  # to be written
        self.unusual: list[tuple[int, bytes, Problem | None]] = []  # JSON that PostgreSQL judges, or has a problem
        self.shown: list[str] = []
        self.rows_rejected = self.bytes_rejected = self.aside = 0
        self.line = 0  # of the last record
        self.blank_lines = self.blank = 0  # or comments, between records, and since the last one
        self.are_numbered = True  # else PostgreSQL gives them their row ids
        self.is_over = False

    def row_id(self, number: int) -> int:
        """Return the row id of a line, which is the last one with a record so far."""
        self.line, self.blank_lines, self.blank = number, self.blank_lines + self.blank, 0
        return self.batch.first_row_id + number - 1

    def reject(self, number: int, text: bytes, problem: Problem) -> None:
        """Set a line aside as rejected; raise GranaryError if more are than the source allows."""
        if problem.reason == "not_utf8" and (encoding := self.file.entity.format.get("encoding")):
            problem = problem._replace(explanation=problem.explanation.replace("UTF-8", encoding))
        line = text.rstrip(b"\r\n").decode("utf-8", "backslashreplace").replace("\0", "\\x00")
        size = len(line.encode())
        self.rejected.append((number, line[:KEPT_TEXT], problem))
        self.aside += size
        self.rows_rejected += 1
        self.bytes_rejected += min(size, KEPT_TEXT)
        if len(self.shown) < SHOWN:
            self.shown.append(f"line {number}: {problem.explanation}")
        for limit, count, what in (
            ("max_lines", self.rows_rejected, "lines are"),
            ("max_bytes", self.bytes_rejected, "bytes of lines are"),
        ):
            if count > self.limits[limit]:
                raise GranaryError(
                    f"{self.batch.path}: more than {self.limits[limit]:,} {what} rejected, so that nothing of the file"
                    f" is loaded ({'; '.join(self.shown)}): correct it, or raise `{limit}` of `reject_limits` in the"
                    f" meta of {self.batch.feed}.{self.batch.entity}"
                )

    def is_enough_aside(self) -> bool:
        """Return whether it's time to settle."""
        return self.aside > ENOUGH_BYTES or len(self.rejected) + len(self.unusual) >= ENOUGH_LINES

    def settle(self, cursor: Any) -> None:
        """Write the rejected lines."""
        raw_tables.write_rejected(cursor, self.batch, self.rejected)
        self.rejected, self.aside = [], 0


class CsvRows(Rows):
    """The rows of a CSV file, whose columns are known from its header."""

    def __init__(
        self, file: LandingFile, batch: Batch, columns: list[str], header: Header, stream: io.BufferedReader
    ) -> None:
        super().__init__(file, batch, columns)
        self.dialect = header.dialect
        self.reader = csv_records.CsvReader(stream, header.names, header.lines + 1, header.dialect)
        self.parts = self.reader.parts()
        self.are_numbered = len(columns) == 1  # COPY alone would take \\. for the end of the file

    def pieces(self, *, one_by_one: bool) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield the number of a row, or of the first of several, its text, and what COPY reads.

        The rows have row ids from the first line on that isn't plain. Until there, PostgreSQL counts as well.
        """
        for part in iter(self.reader.record, None) if one_by_one else self.parts:
            if isinstance(part, PlainLines):
                row_id = self.row_id(part.number)
                text = part.text.replace(b"\r\n", b"\n") if b"\r" in part.text else part.text  # COPY wants them alike
                yield part.number, part.text, numbered(text, row_id, self.dialect) if self.are_numbered else text
                self.line = self.reader.number - 1
            elif not self.are_numbered:
                self.are_numbered, self.parts = True, itertools.chain([part], self.parts)
                return
            else:
                yield from self.single(*part)
                if self.is_enough_aside():
                    return
        self.is_over = True

    def single(
        self, number: int, text: bytes, fields: list[str], problem: Problem | None
    ) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield a record that was read by itself, unless it is blank, a comment, or rejected."""
        if problem in (csv_records.BLANK, csv_records.COMMENT):
            self.blank += 1
            return
        row_id = self.row_id(number)
        if problem := problem or records.problem_of(text.rstrip(b"\r\n")):
            self.reject(number, text, problem)
        else:
            yield number, text, written(row_id, fields, self.dialect)


class TypedRows(Rows):
    """The rows of a file with typed values, whose columns are known from its header."""

    def __init__(self, file: LandingFile, batch: Batch, columns: list[str], table: TypedTable) -> None:
        super().__init__(file, batch, columns)
        self.numbered_rows = enumerate(table.rows, table.rows_before + 1)

    def pieces(self, *, one_by_one: bool) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield the number of a row, its text, and what COPY reads."""
        for number, values in self.numbered_rows:
            if values.count(None) == len(values):
                self.blank += 1
                continue
            row_id = self.row_id(number)
            text = json.dumps(values, ensure_ascii=False).encode()
            problem = csv_records.problem_of_count(len(values), len(self.columns)) or records.problem_of(text)
            if not problem and any("\0" in value for value in values if value):
                problem = records.NUL_CHARACTER
            if problem:
                self.reject(number, text, problem)
                if self.is_enough_aside():
                    return
            else:
                yield number, text, written(row_id, values)
        self.is_over = True


class JsonRows(Rows):
    """The rows of a JSON file, whose columns are known only at its end, since any object may have another key."""

    def __init__(self, file: LandingFile, batch: Batch, stream: io.BufferedReader) -> None:
        super().__init__(file, batch)
        is_json = file.format == ".json"  # which may be JSON lines all the same
        self.records = (
            json_records.json_records(file, stream, self.plain_rows)
            if is_json
            else json_records.json_lines(stream, self.plain_rows)
        )
        self.column_of: dict[str, str] = {}  # by key, in the order of their first appearance
        self.keys: tuple[str, ...] | None = None  # of objects whose values are those of the columns in their order
        self.pattern: re.Pattern[bytes] | None = None  # of lines of such objects
        self.waiting: list[tuple[int, bytes, dict[str, str | None]]] = []  # for the next COPY

    def pieces(self, *, one_by_one: bool) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield the number of a row, its text, and what COPY reads.

        Elements of an array that share a line are numbered consecutively from there.
        """
        columns, waiting, self.waiting, self.keys, self.pattern = list(self.columns), self.waiting, [], None, None
        for number, text, row in waiting:
            yield number, text, written(self.batch.first_row_id + number - 1, [*map(row.get, columns)])
        for part in self.records:
            if isinstance(part, PlainLines):
                yield part.number, part.text, numbered(part.text, self.row_id(part.number))
                self.line += part.text.count(b"\n") - 1
                continue
            line, delivered, _, _ = part
            text = delivered.rstrip(b"\r\n")
            if not text.strip():
                self.blank += 1
                continue
            number = max(line, self.line + 1)
            row_id = self.row_id(number)
            problem, found = None, json_records.plain_values(text)
            if found is None:
                problem = records.problem_of(text) or json_records.problem_of_json(text)
            elif found[0] == self.keys:
                yield number, text, written(row_id, found[1])
                continue
            elif self.unusual and not self.column_of.keys() >= {*found[0]}:
                found = None  # the keys of the lines before come first
            row = self.row(*found) if found else problem
            if not isinstance(row, dict):
                self.unusual.append((number, text, row))
                self.aside += len(text)
                if self.is_enough_aside():
                    return
            elif len(self.columns) > len(columns):
                self.waiting.append((number, text, row))
                return
            else:
                # Where two keys are of one column, the place of a key doesn't tell the column of its value.
                if [*map(self.column_of.get, found[0])] == columns:
                    self.keys = found[0]
                    self.pattern = json_records.plain_objects(self.keys) if self.keys and not one_by_one else None
                yield number, text, written(row_id, [*map(row.get, columns)])
        self.is_over = not self.unusual

    def plain_rows(self, text: bytes) -> bytes:
        """Return the CSV of lines that are all plain objects with the keys of the lines before; else nothing."""
        return json_records.plain_lines(text, self.pattern) if self.pattern else b""

    def row(self, keys: Sequence[str], values: Sequence[str | None]) -> dict[str, str | None] | Problem:
        """Return the values by column, or the problem that two are of one column that is declared.

        If the column isn't declared, the second value gets a column of its own.
        """
        for key in keys:
            if key not in self.column_of:
                self.columns.setdefault(self.column_of.setdefault(key, column_name(key)))
        row = dict(zip(map(self.column_of.get, keys), values, strict=True))
        return row if len(row) == len(keys) else self.told_apart(dict(zip(keys, values, strict=True)))

    def told_apart(self, values: dict[str, str | None]) -> dict[str, str | None] | Problem:
        """Return what `row` does, for values of which several are of one column."""
        row: dict[str, str | None] = {}
        for key, column in self.column_of.items():
            if (value := values.get(key)) is None:
                if key in values:
                    row.setdefault(column)
                continue
            names = (repeated(column, count) for count in itertools.count(1))
            name = next(name for name in names if row.get(name) is None)
            if name != column and column in self.file.entity.columns:
                same = [json.dumps(each) for each, other in self.column_of.items() if other == column]
                return Problem("ambiguous_key", f"{' and '.join(same)} both become {column}")
            row[name] = value
            self.columns.setdefault(name)
        return row

    def settle(self, cursor: Any) -> None:
        """Let PostgreSQL judge the unusual lines, write the rejected ones, and add the columns that are missing."""
        unusual, self.unusual = self.unusual, []
        judged = raw_tables.judged(cursor, [text.decode() for _, text, problem in unusual if not problem])
        for number, text, problem in unusual:
            found = problem or next(judged)
            row = found if isinstance(found, Problem) else self.row(*found)
            if isinstance(row, Problem):
                self.reject(number, text, row)
            else:
                self.waiting.append((number, text, row))
        super().settle(cursor)
        self.new_columns += raw_tables.add_columns(cursor, self.file.entity, self.columns, self.file.relative)


def numbered(text: bytes, row_id: int, dialect: Dialect = CSV) -> bytes:
    """Return lines of CSV, each with a row id before it."""
    lines, line = text.removesuffix(b"\n").split(b"\n"), b"%d" + dialect.delimiter.replace(b"%", b"%%") + b"%b\n"
    return b"".join(map(line.__mod__, zip(itertools.count(row_id), lines)))


def written(row_id: int, values: list[str | None], dialect: Dialect = CSV) -> bytes:
    """Return a row as a line of CSV in which null, unlike '', has no quotes."""
    delimiter, quote = dialect.delimiter.decode(), dialect.quote.decode()
    joined = f"{quote}{delimiter}{quote}".join(values) if None not in values else None
    if joined is not None and joined.count(quote) == 2 * len(values) - 2:
        return f"{row_id}{delimiter}{quote}{joined}{quote}\n".encode()
    quoted = ["" if value is None else quote + value.replace(quote, quote * 2) + quote for value in values]
    return (delimiter.join([str(row_id), *quoted]) + "\n").encode()
