"""Load one landing file in one transaction: known or new, fast or line by line, whole or not at all."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from granary import declared
from granary.loader import csv_records, lines, names, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.raw_tables import Batch
from granary.loader.results import Result
from granary.project import GranaryError


def load(
    cursor: Any, file: LandingFile, *, replace: bool = False, strict: bool = False, dry_run: bool = False
) -> Result:
    """Load one file in the cursor's transaction, which the caller commits or undoes; return what became of the file."""
    changed_at = file.path.stat().st_ctime_ns
    if dry_run:
        raw_tables.prepare(cursor, [file.entity])
    batch = raw_tables.open_batch(cursor, file.entity, file.relative, file.size)
    known, replaced = look_up(cursor, file, batch)
    if known:
        return Result("known", known)
    if replaced and not replace:
        raise GranaryError(
            f"{file.relative}: batch {replaced.batch_id} was loaded from this path with other bytes: deliver"
            f" corrections in a new file, or replace that batch with: bin/ingest --replace {file.label}"
        )
    result = load_csv(cursor, file, batch, dry_run) if file.format == ".csv" else load_json(cursor, file, batch)
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
    return dataclasses.replace(result, replaced=replaced, fail_above=declared.reject_limits(file.entity)["fail_above"])


def look_up(cursor: Any, file: LandingFile, batch: Batch) -> tuple[Batch | None, Batch | None]:
    """Return (the loaded batch that has the file's bytes, the one of its path that has others); either may be None."""
    candidates = raw_tables.candidates(cursor, batch)
    digest = lines.sha256(file) if candidates else None  # files of another size have other bytes
    changed = next((each for each in candidates if each.path == batch.path and each.sha256 != digest), None)
    same = next((each for each in candidates if each.sha256 == digest), None)
    return (None, changed) if changed else (same, None)


def load_csv(cursor: Any, file: LandingFile, batch: Batch, dry_run: bool) -> Result:
    """Let COPY read the file, which is fast. Unless that makes one row of each line, undo it and stage the lines."""
    with lines.opened(file) as (source, stream):
        header = csv_records.read_header(file, stream)
        columns = names.columns_of(header.names, file.entity, file.relative)
        new_columns = raw_tables.add_columns(cursor, file.entity, columns, file.relative)
        new_columns = names.described(new_columns, dict(zip(columns, header.names, strict=True)))
        if dry_run:
            return Result("to load", batch, new_columns=new_columns)
        blocks = csv_records.plain_blocks(file, stream, header.names)
        if copied := raw_tables.copy_blocks(cursor, file.entity, batch, columns, blocks, header.lines + 1):
            return Result("loaded", dataclasses.replace(copied, sha256=source.digest()), new_columns=new_columns)
    batch = stage(cursor, file, batch, columns)
    batch, blank_lines, _ = raw_tables.insert_staged(cursor, file.entity, batch, {name: [name] for name in columns})
    return Result("loaded", batch, new_columns=new_columns, blank_lines=blank_lines)


def load_json(cursor: Any, file: LandingFile, batch: Batch) -> Result:
    """Stage the lines first, since any object may have a key that no other has, and then insert them."""
    batch = stage(cursor, file, batch)
    keys = names.keys_by_column(raw_tables.staged_keys(cursor), file.entity, file.relative)
    batch, blank_lines, new_columns = raw_tables.insert_staged(cursor, file.entity, batch, keys)
    new_columns = names.described(new_columns, {column: same[0] for column, same in keys.items()})
    return Result("loaded", batch, new_columns=new_columns, blank_lines=blank_lines)


def stage(cursor: Any, file: LandingFile, batch: Batch, columns: Sequence[str] = ()) -> Batch:
    """Copy the file's lines, good and bad, into raw._lines; return the batch with the file's hash."""
    with lines.opened(file) as (source, stream):
        raw_tables.stage(cursor, file.entity, batch, lines.read_lines(file, stream, columns))
        return dataclasses.replace(batch, sha256=source.digest())
