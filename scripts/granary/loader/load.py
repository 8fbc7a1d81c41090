"""Load one landing file in one transaction: known or new, whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from psycopg2.errors import ProgramLimitExceeded

from granary import declared
from granary.loader import csv_records, forgotten, landing, names, raw_tables, streams, table_files
from granary.loader.landing import LandingFile
from granary.loader.raw_tables import Batch
from granary.loader.records import BLOCK, Problem
from granary.loader.results import Result
from granary.loader.rows import CsvRows, JsonRows, Rows, TypedRows
from granary.project import GranaryError


def load(
    cursor: Any, file: LandingFile, *, replace: bool = False, strict: bool = False, dry_run: bool = False
) -> Result:
    """Load one file in the cursor's transaction, which the caller commits or undoes; return what became of the file."""
    changed_at, signature = file.path.stat().st_ctime_ns, landing.signature(file)
    if dry_run:
        raw_tables.prepare(cursor, [file.entity])
    batch = raw_tables.open_batch(cursor, file.entity, file.relative, file.size, file.brand)
    known, replaced = look_up(cursor, file, batch)
    if known:
        if signature:
            raw_tables.record_files(cursor, [(file.relative, known.batch_id, signature)])
        return Result("known", known)
    if replaced and not replace:
        raise GranaryError(
            f"{file.relative}: batch {replaced.batch_id} was loaded from this path with other bytes: deliver"
            f" corrections in a new file, or replace that batch with: bin/ingest --replace {file.label}"
        )
    arriving = file._replace(entity=raw_tables.create_arrivals(cursor, file.entity)) if file.brand else file
    cursor.execute("savepoint untouched")
    try:
        result = load_rows(cursor, arriving, batch, dry_run)
    except ProgramLimitExceeded:  # a row is too big for a page
        cursor.execute("rollback to savepoint untouched")
        result = load_rows(cursor, arriving, batch, dry_run, one_by_one=True)
    if file.brand:
        taken_in = raw_tables.take_in_arrivals(cursor, file.entity, result.batch)
        result = dataclasses.replace(result, batch=taken_in, new_columns=())
    if dry_run:
        return dataclasses.replace(result, outcome="to load", replaced=replaced)
    if file.path.stat().st_ctime_ns != changed_at:
        raise GranaryError(f"{file.relative}: the file changed while it was read: load it again when it is complete")
    if strict and result.batch.rows_rejected:
        first = raw_tables.first_rejected(cursor, batch)
        raise GranaryError(
            f"{file.relative}, {first} (rejected lines: {result.batch.rows_rejected:,}; --strict allows none)"
        )
    raw_tables.close_batch(cursor, result.batch, replaced)
    if signature:
        raw_tables.record_files(cursor, [(file.relative, batch.batch_id, signature)])
    return dataclasses.replace(result, replaced=replaced, fail_above=declared.reject_limits(file.entity)["fail_above"])


def look_up(cursor: Any, file: LandingFile, batch: Batch) -> tuple[Batch | None, Batch | None]:
    """Return (the loaded batch that has the file's bytes, the one of its path that has others); either may be None."""
    if not raw_tables.has_candidates(cursor, batch):  # files of another size have other bytes
        return None, None
    digest = forgotten.checked(cursor, file, streams.sha256(file))
    candidates = raw_tables.candidates(cursor, batch, digest)
    changed = next((each for each in candidates if each.path == batch.path and each.sha256 != digest), None)
    same = next((each for each in candidates if each.sha256 == digest), None)
    return (None, changed) if changed else (same, None)


def load_rows(cursor: Any, file: LandingFile, batch: Batch, dry_run: bool, one_by_one: bool = False) -> Result:
    """Load the rows of a file as its format is read."""
    if file.format in table_files.READERS:
        return load_typed(cursor, file, batch, dry_run, one_by_one)
    if file.format in (".csv", ".tsv", ".txt"):
        return load_csv(cursor, file, batch, dry_run, one_by_one)
    return load_json(cursor, file, batch, one_by_one)


def load_csv(cursor: Any, file: LandingFile, batch: Batch, dry_run: bool, one_by_one: bool = False) -> Result:
    """Add the columns of the header, and copy the rows."""
    with streams.opened(file) as (source, stream):
        header = csv_records.read_header(file, stream)
        columns = names.columns_of(header.names, file.entity, file.relative, header.lines)
        new_columns = raw_tables.add_columns(cursor, file.entity, columns, file.relative)
        new_columns = names.described(new_columns, dict(zip(columns, header.names, strict=True)))
        if dry_run:
            return Result("to load", batch, new_columns=new_columns)
        rows = CsvRows(file, batch, columns, header, stream)
        rows.are_numbered |= one_by_one or file.size < BLOCK  # of a few rows, that is cheaper than to ask PostgreSQL
        if not rows.are_numbered:
            raw_tables.set_next_row_id(cursor, batch, header.lines + 1)
        batch = copy_rows(cursor, rows, one_by_one, not_null=columns)
        batch = dataclasses.replace(batch, sha256=source.digest())
    return Result("loaded", batch, new_columns=new_columns, blank_lines=rows.blank_lines)


def load_typed(cursor: Any, file: LandingFile, batch: Batch, dry_run: bool, one_by_one: bool = False) -> Result:
    """Add the columns of a file with typed values, and copy the rows."""
    with table_files.opened(file) as table:
        columns = names.columns_of(table.names, file.entity, file.relative, table.rows_before)
        new_columns = raw_tables.add_columns(cursor, file.entity, columns, file.relative)
        new_columns = names.described(new_columns, dict(zip(columns, table.names, strict=True)))
        if dry_run:
            return Result("to load", batch, new_columns=new_columns)
        rows = TypedRows(file, batch, columns, table)
        batch = copy_rows(cursor, rows, one_by_one)
    batch = dataclasses.replace(batch, sha256=streams.sha256(file))
    return Result("loaded", batch, new_columns=new_columns, blank_lines=rows.blank_lines)


def load_json(cursor: Any, file: LandingFile, batch: Batch, one_by_one: bool = False) -> Result:
    """Copy the rows, and add columns as they appear."""
    with streams.opened(file) as (source, stream):
        rows = JsonRows(file, batch, stream)
        batch = copy_rows(cursor, rows, one_by_one)
        batch = dataclasses.replace(batch, sha256=source.digest())
    names.check_keys(rows.column_of, file.entity, file.relative)
    keys = {column: key for key, column in reversed(rows.column_of.items())}
    new_columns = names.described(rows.new_columns, keys)
    return Result("loaded", batch, new_columns=new_columns, blank_lines=rows.blank_lines)


def copy_rows(cursor: Any, rows: Rows, one_by_one: bool, not_null: Sequence[str] = ()) -> Batch:
    """COPY rows and write rejected lines, in turns; return the batch with its counts.

    Row by row, those that are too big for a page can be rejected: that is slow, and rarely needed.
    """
    table, loaded = rows.file.entity.table, 0
    while not rows.is_over:
        columns = [*(["_row_id"] if rows.are_numbered else []), *rows.columns]
        pieces = rows.pieces(one_by_one=one_by_one)
        if not one_by_one:
            loaded += raw_tables.copy(cursor, table, columns, (piece for *_, piece in pieces), not_null, rows.dialect)
        for number, text, piece in pieces:
            cursor.execute("savepoint row")
            try:
                loaded += raw_tables.copy(cursor, table, columns, iter([piece]), not_null, rows.dialect)
                cursor.execute("release savepoint row")
            except ProgramLimitExceeded as error:
                cursor.execute("rollback to savepoint row")
                rows.reject(number, text, Problem("too_big", error.diag.message_primary))
        rows.settle(cursor)
    raw_tables.set_next_row_id(cursor, rows.batch, (rows.line or 1) + 1)
    counts = {"rows_read": loaded + rows.rows_rejected, "rows_loaded": loaded, "rows_rejected": rows.rows_rejected}
    return dataclasses.replace(rows.batch, **counts)
