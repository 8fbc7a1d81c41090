"""Load landing files into the raw tables: each file once, whole or not at all, each row with its batch and its line.

Without names, everything below the data root that isn't loaded yet is loaded, the initial files first. A name is a feed
(tickets), an entity (tickets/orders), a batch (tickets/orders/batch_001), or the path of a landing file.

A line that can't be a row is set aside in raw._rejected_lines. A file that can't be loaded is named with the reason;
the others still load, and the exit code is 1. What was loaded, and from which bytes, is written down in raw._batches.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import csv
import os
import sys
import zlib
from pathlib import Path
from typing import Any

import psycopg2

from granary import declared, project
from granary.loader import landing, raw_tables
from granary.loader.landing import LandingFile
from granary.project import GranaryError
from granary.text import counted


def main() -> int:
    """Load what the command line names; return 1 if a file failed, else 0."""
    options = parse_arguments()
    project.load_env()
    entities = declared.entities()
    if not entities:
        print(declared.NO_FEEDS)
    root = Path(options.data_dir or project.ROOT / (os.environ.get("GRANARY_DATA") or "data"))
    files = landing.select(landing.discover(root, entities), options.names, options.initial)
    if not options.dry_run:
        with raw_tables.transaction("preparing the raw tables") as cursor:
            raw_tables.prepare(cursor, entities.values())
    totals = sum((attempt(file, options) for file in files), collections.Counter())
    found = f"{totals['to load']} to load" if options.dry_run else f"{totals['loaded']} loaded"
    rows = f"{counted(totals['rows'], 'row')}, {counted(totals['rejected'], 'line')} rejected"
    print(f"{counted(len(files), 'file')}: {found} ({rows}), {totals['known']} known, {totals['failed']} failed")
    return 1 if totals["failed"] else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/ingest", description=__doc__, formatter_class=as_written)
    parser.add_argument("--data-dir", metavar="D", help="the data root (default: GRANARY_DATA, or data)")
    parser.add_argument("--strict", action="store_true", help="refuse a file of which any line can't be a row")
    parser.add_argument("--replace", action="store_true", help="load a changed file in place of its former batch")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    parser.add_argument("--initial", action="store_true", help="load the initial files only")
    parser.add_argument("names", nargs="*", help="what to load (default: everything)")
    return parser.parse_args()


def attempt(file: LandingFile, options: argparse.Namespace) -> collections.Counter[str]:
    """Load a file and say so; where that fails, say why, and write it down. Return what to add to the totals."""
    try:
        if not file.entity:
            raise GranaryError(f"{file.relative}: {landing.STRANGER}")
        with raw_tables.transaction(file.relative, keep=not options.dry_run) as cursor:
            outcome, note, counts = load(cursor, file, options)
    except (GranaryError, OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip data
        message = str(error) if isinstance(error, GranaryError) else f"{file.relative}: {error}"
        print(f"error: {message}", file=sys.stderr, flush=True)
        if file.entity and not options.dry_run:
            raw_tables.record_failure(file, message)
        return collections.Counter(failed=1)
    if note or outcome != "known":  # of files that are known by their own path, the total says how many
        print(f"{outcome:<8} {file.label:<36} {note}", flush=True)
    return collections.Counter({outcome: 1, **counts})


def load(cursor: Any, file: LandingFile, options: argparse.Namespace) -> tuple[str, str, dict[str, int]]:
    """Load one file in the cursor's transaction. Return the outcome, a note for people, and counts for the totals."""
    changed_at = file.path.stat().st_ctime_ns
    if options.dry_run:
        raw_tables.prepare(cursor, [file.entity])
    batch = raw_tables.open_batch(cursor, file)
    known, replaced = raw_tables.look_up(cursor, file, batch, options.replace)
    if known:
        is_routine = known["path"] == file.relative and not options.names
        return "known", "" if is_routine else f"batch {known['batch_id']} has these bytes already", {}
    if file.format == ".csv":
        names, header_lines = landing.read_header(file)
    else:  # any object may have a key of its own
        raw_tables.stage(cursor, file, batch)
        names, header_lines = raw_tables.staged_names(cursor), 0
    columns = landing.columns_of(file, names) if names or batch["rows_read"] else []
    new_columns = raw_tables.missing_columns(cursor, file.entity, columns)
    notes = [f"replaces batch {replaced}"] * bool(replaced) + [f"new column {name}" for name in new_columns]
    if options.dry_run:
        return "to load", ", ".join(notes), {}
    raw_tables.add_columns(cursor, file.entity, new_columns)
    if file.format != ".csv" or not copy_as_it_is(cursor, file, batch, columns, header_lines):
        raw_tables.insert_staged(cursor, file, batch, names, columns)
    if file.path.stat().st_ctime_ns != changed_at:
        raise GranaryError(f"{file.relative}: the file changed while it was read; load it again when it is complete")
    rejected = [f"{counted(batch['rows_rejected'], 'line')} rejected"] * bool(batch["rows_rejected"])
    if rejected and options.strict:
        first = raw_tables.first_rejected(cursor, batch)
        raise GranaryError(f"{file.relative}, {first} ({rejected[0]}, which --strict refuses)")
    raw_tables.close_batch(cursor, batch, replaced)
    note = f"batch {batch['batch_id']:<5} {', '.join([counted(batch['rows_loaded'], 'row'), *rejected, *notes])}"
    return "loaded", note, {"rows": batch["rows_loaded"], "rejected": batch["rows_rejected"]}


def copy_as_it_is(cursor: Any, file: LandingFile, batch: dict[str, Any], columns: list[str], header_lines: int) -> bool:
    """Let COPY read a CSV file, which is fast. Unless it makes one row of each line, undo that and stage the lines."""
    cursor.execute("savepoint untouched")
    raw_tables.move_row_ids(cursor, batch["first_row_id"] + header_lines)
    with landing.opened(file) as (source, stream), contextlib.suppress(psycopg2.DataError, csv.Error):
        for _ in range(header_lines):
            stream.readline()
        lines: list[int] = []
        rows = raw_tables.copy(cursor, file.entity.table, columns, landing.plain_blocks(stream, lines), columns)
        if rows == sum(lines) and len(columns) > 1:  # in a single column, COPY takes a blank line for a row
            batch |= {"rows_read": rows, "rows_loaded": rows, "lines": header_lines + rows, "sha256": source.digest()}
            return True
    cursor.execute("rollback to savepoint untouched")
    raw_tables.stage(cursor, file, batch)
    return False


if __name__ == "__main__":
    project.run_main(main)
