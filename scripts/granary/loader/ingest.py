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
from pathlib import Path
from typing import Any

from granary import declared, project
from granary.loader import landing, lines, names, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.raw_tables import Batch, Session
from granary.loader.results import Result, summary
from granary.project import GranaryError


def main() -> int:
    """Load what the command line names; return 1 if a file failed, else 0."""
    options = parse_arguments()
    project.load_env()
    if options.accept is not None:
        return accept(options.accept, options.why)
    entities = declared.entities()
    if not entities:
        print(declared.NO_FEEDS)
    root = Path(options.data_dir or project.ROOT / (os.environ.get("GRANARY_DATA") or "data"))
    files = landing.select(landing.discover(root, entities), options.names, options.initial)
    with contextlib.closing(Session()) as session:
        with session.transaction("preparing the raw tables", keep=not options.dry_run) as cursor:
            raw_tables.prepare(cursor, entities.values())
            ledger = raw_tables.loaded_batches(cursor)
        results = [attempt(session, file, ledger.get(file.relative), options) for file in files]
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
            raise GranaryError(f"{file.relative}: {landing.UNDECLARED_FILE}")
        if former and former.bytes == file.size and former.sha256 == lines.sha256(file):
            result = Result("known", former)
        else:
            with session.transaction(file.relative, keep=not options.dry_run) as cursor:
                result = load(cursor, file, replace=options.replace, strict=options.strict, dry_run=options.dry_run)
    except (GranaryError, OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip data
        message = str(error) if isinstance(error, GranaryError) else f"{file.relative}: {error}"
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
    batch, new_columns = (load_csv if file.format == ".csv" else load_json)(cursor, file, batch, dry_run)
    if dry_run:
        return Result("to load", batch, replaced, new_columns)
    if file.path.stat().st_ctime_ns != changed_at:
        raise GranaryError(f"{file.relative}: the file changed while it was read: load it again when it is complete")
    if strict and batch.rows_rejected:
        first = raw_tables.first_rejected(cursor, batch)
        raise GranaryError(f"{file.relative}, {first} (rejected lines: {batch.rows_rejected:,}; --strict allows none)")
    raw_tables.close_batch(cursor, batch, replaced)
    return Result("loaded", batch, replaced, new_columns, declared.reject_limits(file.entity)["fail_above"])


def look_up(cursor: Any, file: LandingFile, batch: Batch) -> tuple[Batch | None, Batch | None]:
    """Return (the loaded batch that has the file's bytes, the one of its path that has others); either may be None."""
    candidates = raw_tables.candidates(cursor, batch)
    digest = lines.sha256(file) if candidates else None  # files of another size have other bytes
    changed = next((each for each in candidates if each.path == batch.path and each.sha256 != digest), None)
    same = next((each for each in candidates if each.sha256 == digest), None)
    return (None, changed) if changed else (same, None)


def load_csv(cursor: Any, file: LandingFile, batch: Batch, dry_run: bool) -> tuple[Batch, tuple[str, ...]]:
    """Let COPY read the file, which is fast. Unless that makes one row of each line, undo it and stage the lines."""
    with lines.opened(file) as (source, stream):
        header, header_lines = lines.read_header(file, stream)
        columns = names.columns_of(header, file.entity, file.relative)
        new_columns = raw_tables.add_columns(cursor, file.entity, columns)
        if dry_run:
            return batch, new_columns
        blocks, first_line = lines.plain_blocks(stream), header_lines + 1
        if copied := raw_tables.copy_blocks(cursor, file.entity, batch, columns, blocks, first_line):
            return dataclasses.replace(copied, sha256=source.digest()), new_columns
    batch = stage(cursor, file, batch)
    return raw_tables.insert_staged(cursor, file.entity, batch, header, columns), new_columns


def load_json(cursor: Any, file: LandingFile, batch: Batch, dry_run: bool) -> tuple[Batch, tuple[str, ...]]:
    """Stage the lines first, since any object may have a key that no other has, and then insert them."""
    batch = stage(cursor, file, batch)
    keys = raw_tables.staged_names(cursor)
    columns = names.columns_of(keys, file.entity, file.relative) if batch.rows_read else []
    new_columns = raw_tables.add_columns(cursor, file.entity, columns)
    return batch if dry_run else raw_tables.insert_staged(cursor, file.entity, batch, keys, columns), new_columns


def stage(cursor: Any, file: LandingFile, batch: Batch) -> Batch:
    """Copy the file's lines, good and bad, into raw._lines; return the batch with their number and their hash."""
    with lines.opened(file) as (source, stream):
        rows = raw_tables.stage(cursor, lines.read_lines(file, stream))
        return dataclasses.replace(batch, rows_read=rows, sha256=source.digest())


if __name__ == "__main__":
    project.run_main(main)
