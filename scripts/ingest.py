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
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, NamedTuple

import psycopg2

import landing
import raw_tables
import warehouse
from landing import Header, LandingFile
from warehouse import GranaryError

REJECTED = ["batch_id", "line_number", "line", "reason"]  # the columns of raw._rejected_lines


def main() -> int:
    """Load what the command line names; return 1 if a file failed, else 0."""
    options = parse_arguments()
    warehouse.load_env()
    entities = landing.declared_entities(warehouse.ROOT / "dbt" / "models")
    root = Path(options.data_dir or warehouse.ROOT / (os.environ.get("GRANARY_DATA") or "data"))
    files = landing.select(landing.discover(root, entities), options.names, options.initial)
    if not options.dry_run:
        raw_tables.prepare(entities.values())
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
        if file.problem:
            raise GranaryError(f"{file.relative}: {file.problem}")
        with raw_tables.transaction(None if options.dry_run else f"load of {file.label}") as cursor:
            outcome, note, counts = load(cursor, file, options)
    except (GranaryError, psycopg2.Error, OSError) as error:
        message = str(error) if isinstance(error, GranaryError) else f"{file.relative}: {str(error).strip()}"
        print(f"error: {message}", file=sys.stderr, flush=True)
        if not file.problem and not options.dry_run:
            raw_tables.record_failure(file, message)
        return collections.Counter(failed=1)
    print(f"{outcome:<8} {file.label:<36} {note}", flush=True)
    return collections.Counter({outcome: 1, **counts})


def load(cursor: Any, file: LandingFile, options: argparse.Namespace) -> tuple[str, str, dict[str, int]]:
    """Load one file in the cursor's transaction. Return the outcome, a note for people, and counts for the totals."""
    known, replaced, digest = raw_tables.look_up(cursor, file, options.replace)
    if known:
        return "known", f"batch {known} has these bytes already", {}
    with landing.opened(file) as source:
        header = landing.read_header(file, source)
        undeclared = [column for column in header.columns if column not in file.entity.columns]
        new_columns = raw_tables.missing_columns(cursor, file.entity, undeclared)
        notes = [f"replaces batch {replaced}"] * bool(replaced) + [f"new column {name}" for name in new_columns]
        if options.dry_run:
            return "to load", ", ".join(notes), {}
        raw_tables.add_columns(cursor, file.entity, new_columns)
        batch = raw_tables.open_batch(cursor, file)
        copied = copy_as_it_is(cursor, file, header, source, batch) or copy_with_care(cursor, file, header, batch)
    if len({digest, header.sha256, copied.sha256} - {None}) > 1:
        raise landing.changed(file)
    if copied.rejected and options.strict:
        raise GranaryError(
            f"{file.relative}, {copied.reasons}; {counted(copied.rejected, 'line')} rejected, which --strict refuses"
        )
    raw_tables.close_batch(cursor, file, batch, header, copied, replaced)
    numbers = [counted(copied.loaded, "row")] + [f"{counted(copied.rejected, 'line')} rejected"] * bool(copied.rejected)
    note = f"batch {batch['batch_id']:<5} {', '.join(numbers + notes)}"
    return "loaded", note, {"rows": copied.loaded, "rejected": copied.rejected}


def counted(count: int, what: str) -> str:
    """Return a number with its noun, as people write it."""
    return f"{count:,} {what}{'s' if count != 1 else ''}"


# -- Copying -----------------------------------------------------------------------------------------------------------


class Copied(NamedTuple):
    """What a copy did: rows, lines passed, the file's hash, the first reasons for rejections."""

    read: int
    loaded: int
    rejected: int
    lines: int
    sha256: str
    reasons: str = ""


def copy_as_it_is(cursor: Any, file: LandingFile, header: Header, source: landing.Source, batch: dict) -> Copied | None:
    """Let COPY read a CSV file, which is fast; give up with nothing loaded unless it makes one row of each line."""
    if file.format != ".csv" or len(header.columns) == 1:  # in a single column, COPY takes a blank line for a row
        return None
    cursor.execute("savepoint untouched")
    raw_tables.move_row_ids(cursor, file.entity, batch["first_row_id"] + header.lines)
    blocks = landing.PlainBlocks(source.stream)
    with contextlib.suppress(psycopg2.DataError):
        rows = raw_tables.copy(cursor, file.entity.table, header.columns, iter(blocks), empty_is_null=False)
        if blocks.plain and rows == blocks.lines:
            return Copied(rows, rows, 0, header.lines + rows, source.finish())
    cursor.execute("rollback to savepoint untouched")
    return None


def copy_with_care(cursor: Any, file: LandingFile, header: Header, batch: dict) -> Copied:
    """Read a file line by line, load the rows under their line's number, and set aside the lines that can't be rows."""
    columns, tally = ["_row_id", *header.columns], SimpleNamespace(read=0, lines=header.lines, reasons=[])
    with landing.opened(file) as source, tempfile.TemporaryFile() as aside:
        blocks = sift(landing.read_lines(file, source, header), batch, aside, tally)
        loaded = raw_tables.copy(cursor, file.entity.table, columns, blocks)
        aside.seek(0)
        rejected = raw_tables.copy(cursor, "_rejected_lines", REJECTED, iter(lambda: aside.read(landing.BLOCK), b""))
        return Copied(tally.read, loaded, rejected, tally.lines, source.finish(), "; ".join(tally.reasons))


def sift(lines: Iterable[landing.Line], batch: dict, aside: BinaryIO, tally: SimpleNamespace) -> Iterator[bytes]:
    """Yield the good lines in blocks for COPY, write the bad ones to a file for COPY, and count."""
    block, first_row_id = bytearray(), batch["first_row_id"]
    for line in lines:
        tally.read += 1
        tally.lines = line.number + line.text.count(b"\n")
        if line.values is None:
            where = [b"%d" % batch["batch_id"], b"%d" % line.number]
            aside.write(landing.csv_row([*where, line.printable(), line.reason.encode()]))
            tally.reasons += [f"line {line.number}: {line.reason}"] if len(tally.reasons) < 5 else []
        else:
            block += landing.csv_row([b"%d" % (first_row_id + line.number - 1), *line.values])
        if len(block) > landing.BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


if __name__ == "__main__":
    warehouse.run_main(main)
