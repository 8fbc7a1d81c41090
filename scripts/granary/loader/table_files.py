"""Files that hold typed tables instead of text, Parquet and Excel: their rows as text, as each value is stored.

Numbers have all their digits, dates and times are in ISO 8601, and what is nested is JSON.
"""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from granary.loader.landing import LandingFile
from granary.project import GranaryError, check_packages

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 10_000  # of Parquet that are in memory at once


class TypedTable(NamedTuple):
    """The names of the columns, how many rows are before the first one with values, and the rows, in their order.

    A row has a value for each name; more of them are in cells to the right of the header.
    """

    names: list[str]
    rows_before: int
    rows: Iterator[list[str | None]]


@contextlib.contextmanager
def opened(file: LandingFile) -> Iterator[TypedTable]:
    """Yield the table of a file. Raises GranaryError if it can't be read."""
    with READERS[file.format](file) as table:
        yield table


# -- Parquet -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def parquet(file: LandingFile) -> Iterator[TypedTable]:
    """Yield the table of a Parquet file."""
    check_packages("formats", None, "pyarrow")
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(file.path) as opened_file:
            batches = opened_file.iter_batches(ROWS)
            rows = (list(row) for batch in batches for row in zip(*map(texts, batch.columns), strict=True))
            yield TypedTable(opened_file.schema_arrow.names, 0, rows)
    except (pyarrow.ArrowException, OSError) as error:
        raise GranaryError(f"{file.relative}: can't be read as Parquet: {str(error).splitlines()[0]}") from None


def texts(values: pa.Array) -> list[str | None]:
    """Return the values of a column as text."""
    import pyarrow
    from pyarrow import types

    kind = values.type
    if types.is_dictionary(kind):
        values = values.dictionary_decode()
        kind = values.type
    if types.is_timestamp(kind) and kind.tz:
        values = values.cast(pyarrow.timestamp(kind.unit, "UTC"))  # which is written with a Z
    if types.is_decimal(kind):
        return [None if value is None else f"{value:f}" for value in values.to_pylist()]
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return [None if value is None else value.hex() for value in values.to_pylist()]
    if types.is_nested(kind) or types.is_duration(kind):
        return [None if value is None else json.dumps(value, default=str) for value in values.to_pylist()]
    return values.cast(pyarrow.string()).to_pylist()


# -- Excel -------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading_excel(file: LandingFile) -> Iterator[Any]:
    """Yield a workbook, which is read as its rows are asked for. Raises GranaryError where that fails."""
    import openpyxl

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what it doesn't keep, such as colours
            with contextlib.closing(openpyxl.load_workbook(file.path, read_only=True, data_only=True)) as book:
                yield book
    except (zipfile.BadZipFile, zlib.error, SyntaxError, KeyError, ValueError, OSError) as error:  # also of its XML
        raise GranaryError(f"{file.relative}: can't be read as Excel: {error}") from None


@contextlib.contextmanager
def excel(file: LandingFile) -> Iterator[TypedTable]:
    """Yield a sheet of an Excel file: the declared one, or else the only one."""
    check_packages("formats", None, "openpyxl")
    with reading_excel(file) as book:
        name, sheets = file.entity.format.get("sheet"), {sheet.title: sheet for sheet in book.worksheets}
        if name not in sheets and (name or len(sheets) > 1):
            declare = f"declare one in {file.entity.path.name}, format: {{sheet: {next(iter(sheets))}}}"
            problem = f"no sheet {name}" if name else "several sheets"
            raise GranaryError(f"{file.relative}: {problem} ({', '.join(sheets)}): {declare}")
        sheet = sheets[name] if name else next(iter(sheets.values()))
        sheet.reset_dimensions()  # some programs write wrong ones
        rows = ([*map(as_stored, row)] for row in sheet.iter_rows(values_only=True))
        skipped = file.entity.format.get("skip_lines") or 0
        names = file.entity.format.get("header")
        rows = itertools.islice(rows, skipped, None)
        if not names:
            names, skipped = trimmed(next(rows, [])), skipped + 1
            if not names:
                raise GranaryError(f"{file.relative}, row {skipped}: not a valid header: the row is blank")
        yield TypedTable([name or "" for name in names], skipped, (fitted(row, len(names)) for row in rows))


def trimmed(row: list[str | None]) -> list[str | None]:
    """Return a row without the empty cells at its end."""
    return row[: max((place for place, value in enumerate(row, 1) if value is not None), default=0)]


def fitted(row: list[str | None], width: int) -> list[str | None]:
    """Return a row with as many values as there are names, or more if there are values to the right of these."""
    row = trimmed(row)
    return row + [None] * (width - len(row))


def as_stored(value: Any) -> str | None:
    """Return a value of a cell as text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        is_day = value.time() == datetime.time()
        return value.date().isoformat() if is_day else value.isoformat()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    return None if value is None else str(value)


READERS: dict[str, Callable[[LandingFile], contextlib.AbstractContextManager[TypedTable]]] = {
    ".parquet": parquet,
    ".xlsx": excel,
}
