"""Files that are written row by row: CSV, JSON array and JSON lines, plain or .gz.

.gz files are stored without compression, because compressors differ and the bytes must not.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path


class CsvRows:
    """Rows as CSV. `write` takes the values in the order of `columns`, whatever the order of the header."""

    def __init__(self, file, columns: tuple, header: tuple, quirk: str, delimiter: str):
        self.file, self.newline = file, "\r\n" if "crlf" in quirk else "\n"
        if "bom" in quirk:
            file.write("\ufeff")
        writerow = csv.writer(file, delimiter=delimiter, lineterminator=self.newline).writerow
        places = [columns.index(column) for column in header]
        self.write = writerow if header == columns else lambda row: writerow([row[place] for place in places])
        writerow(header)

    def line(self, text: str) -> None:
        self.file.write(text + self.newline)

    def finish(self) -> None:
        pass


class JsonRows:
    """Rows as JSON objects, one a line, alone or in an array.

    Empty becomes null. Plain numbers in the columns `numbers` become numbers, what is spelled oddly stays text.
    """

    PLAIN = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?(e-\d+)?")

    def __init__(self, file, columns: tuple, numbers: tuple, is_array: bool):
        self.file, self.columns, self.numbers, self.is_array, self.is_empty = file, columns, numbers, is_array, True
        if is_array:
            file.write("[\n")

    def write(self, row) -> None:
        values = {column: self.value(column, text) for column, text in zip(self.columns, row, strict=True)}
        self.line(json.dumps(values, ensure_ascii=False))

    def line(self, text: str) -> None:
        between = "" if self.is_empty or not self.is_array else ",\n"
        self.file.write(between + text + ("" if self.is_array else "\n"))
        self.is_empty = False

    def finish(self) -> None:
        if self.is_array:
            self.file.write("\n]\n")

    def value(self, column: str, text: str) -> str | int | float | None:
        if text == "":
            return None
        return json.loads(text) if column in self.numbers and self.PLAIN.fullmatch(text) else text


class StoredGzip(io.RawIOBase):
    """A .gz file in blocks that are stored, not compressed: the same bytes whatever zlib the machine has."""

    BLOCK = 65535  # bytes, the longest that a stored block may be

    def __init__(self, file):
        self.file, self.pending, self.crc, self.size = file, bytearray(), 0, 0
        file.write(b"\x1f\x8b\x08\x00" + b"\x00" * 4 + b"\x00\xff")  # no name, no time, no system

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.crc, self.size = zlib.crc32(data, self.crc), self.size + len(data)
        self.pending += data
        while len(self.pending) > self.BLOCK:
            self._block(self.pending[: self.BLOCK], is_last=False)
            del self.pending[: self.BLOCK]
        return len(data)

    def close(self) -> None:
        if not self.closed:
            self._block(self.pending, is_last=True)
            self.file.write(struct.pack("<LL", self.crc, self.size & 0xFFFFFFFF))
            super().close()

    def _block(self, data: bytes, is_last: bool) -> None:
        self.file.write(struct.pack("<BHH", is_last, len(data), len(data) ^ 0xFFFF) + data)


@contextlib.contextmanager
def whole_file(path: Path, encoding: str = "utf-8") -> Iterator[io.TextIOWrapper]:
    """A text file that takes its name when it is complete, so that half of it is never loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(unfinished.open("wb"))
            if path.suffix == ".gz":
                file = stack.enter_context(StoredGzip(file))
            yield stack.enter_context(io.TextIOWrapper(file, encoding=encoding, newline=""))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


@contextlib.contextmanager
def rows_of(
    path: Path, columns: tuple, header: tuple, quirk: str, numbers: tuple, delimiter: str, encoding: str
) -> Iterator[CsvRows | JsonRows]:
    """A file to write rows to, in the format that its name tells."""
    form = path.name.removesuffix(".gz").rpartition(".")[2]
    with whole_file(path, encoding) as file:
        is_csv, is_array = form == "csv", form == "json"
        if is_csv:
            rows: CsvRows | JsonRows = CsvRows(file, columns, header, quirk, delimiter)
        else:
            rows = JsonRows(file, columns, numbers, is_array)
        yield rows
        rows.finish()
