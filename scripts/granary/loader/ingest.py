"""Load landing files into the raw tables: each file once, whole or not at all, each row with its batch and its line.

Without names, load everything below the data root that isn't loaded yet, the initial files first. A name is a feed
(sales), an entity (sales/orders), a batch (sales/orders/batch_001), or the path of a landing file.

A line that can't be a row is rejected: it goes to raw._rejected_lines with the reason, and the rest of its file loads.
If a file can't be loaded, the error says why; the others still load, and the exit code is 1. The ledger, raw._batches,
records what was loaded, and from which bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
import zlib
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from granary import declared, project
from granary.loader import csv_records, landing, lines, names, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.raw_tables import Batch, Session
from granary.loader.results import Result, summary
from granary.project import GranaryError
from granary.text import printable


def main() -> int:
    """Load what the command line names; return 1 if a file failed, else 0."""
    options = parse_arguments()
    project.load_env()
    if options.accept is not None:
        return accept(options.accept, options.why)
    entities, problems = declared.declarations()
    if not entities and not problems:
        print(declared.NO_FEEDS)
    root = Path(options.data_dir or project.ROOT / (os.environ.get("GRANARY_DATA") or "data"))
    files = landing.select(landing.discover(root, entities), options.names, options.initial, problems)
    if options.names:
        selected = {file.feed for file in files} | {name.partition("/")[0] for name in options.names}
        problems = {feed: problem for feed, problem in problems.items() if feed in selected}
    for feed, problem in problems.items():
        print(f"error: {problem} (nothing of the feed {feed} is loaded)", file=sys.stderr, flush=True)
    with contextlib.closing(Session()) as session:
        with session.transaction("preparing the raw tables", keep=not options.dry_run) as cursor:
            raw_tables.prepare(cursor, entities.values())
            ledger = raw_tables.loaded_batches(cursor)
        results = [
            attempt(session, file, ledger.get(file.relative), options) for file in files if file.feed not in problems
        ]
    results += [None for _ in problems]
    print(summary(results, options.dry_run))
    return 1 if None in results else 0


def parse_arguments() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser("bin/ingest", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", metavar="D", help="the data root (default: GRANARY_DATA, or data)")
    parser.add_argument("--strict", action="store_true", help="refuse a file if any of its lines is rejected")
    parser.add_argument("--replace", action="store_true", help="load a changed file in place of its former batch")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and write nothing")
    parser.add_argument("--initial", action="store_true", help="load the initial files only")
    parser.add_argument("--accept", metavar="BATCH", type=int, help="load nothing; accept what was rejected of a batch")
    parser.add_argument("--why", metavar="REASON", help="why it is acceptable (with --accept)")
    parser.add_argument("names", nargs="*", help="what to load (default: everything)")
    options = parser.parse_args()
    if (options.accept is None) != (not (options.why or "").strip()) or (options.accept is not None and options.names):
        parser.error("--accept takes the number of a batch and --why a reason; nothing is loaded")
    return options


def accept(batch_id: int, why: str) -> int:
    """Accept the rejections of a batch: they are no longer open, and no longer fail a build; return 0."""
    with raw_tables.transaction(f"acceptance of batch {batch_id}") as cursor:
        raw_tables.prepare(cursor, [])
        batch = raw_tables.accept(cursor, batch_id, why)
    print(f"accepted batch {batch_id} ({batch.path}), as of the next build")
    return 0


def attempt(session: Session, file: LandingFile, former: Batch | None, options: Namespace) -> Result | None:
    """Load a file, unless its former batch has its bytes, and report it; on failure, record why and return None."""
    try:
        if not file.entity:
            raise GranaryError(f"{file.relative}: {file.problem}")
        if former and former.bytes == file.size and former.sha256 == lines.sha256(file):
            result = Result("known", former)
        else:
            with session.transaction(file.relative, keep=not options.dry_run) as cursor:
                result = load(cursor, file, replace=options.replace, strict=options.strict, dry_run=options.dry_run)
    except (GranaryError, OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip data
        message = printable(error if isinstance(error, GranaryError) else f"{file.relative}: {error}")
        print(f"error: {message}", file=sys.stderr, flush=True)
        if file.entity and not options.dry_run:
            with contextlib.suppress(GranaryError), session.transaction(f"failure of {file.relative}") as cursor:
                raw_tables.record_failure(cursor, file.entity, file.relative, file.size, message)
        return None
    if result.outcome != "known" or result.batch.path != file.relative or options.names:  # else the total is enough
        print(f"{result.outcome:<8} {file.label:<36} {result}", flush=True)
    return result


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


if __name__ == "__main__":
    project.run_main(main)
