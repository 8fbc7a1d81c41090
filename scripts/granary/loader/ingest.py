"""Load landing files into the raw tables: each file once, whole or not at all, each row with its batch and its line.

Without names, load everything below the data root that isn't loaded yet, the initial files first. A name is a feed
(sales), an entity (sales/orders), a batch (sales/orders/batch_001), or the path of a landing file.

A line that can't be a row is rejected: it goes to raw._rejected_lines with the reason, and the rest of its file loads.
If a file can't be loaded, the error says why; the others still load, and the exit code is 1. The ledger, raw._batches,
records what was loaded, and from which bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import zlib
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Iterable, Iterator
from pathlib import Path

from granary import declared, project
from granary.loader import landing, onboarding, raw_tables, streams
from granary.loader.landing import LandingFile
from granary.loader.load import load
from granary.loader.raw_tables import Known, Session
from granary.loader.results import Result, summary
from granary.project import GranaryError
from granary.text import printable

AT_ONCE = 2_000  # files of which it is in memory what the ledger knows


def main() -> int:
    """Load what the command line names; return 1 if a file failed, else 0."""
    options = parse_arguments()
    project.load_env()
    if options.accept is not None:
        return accept(options.accept, options.why)
    entities, problems = declared.declarations()
    if not entities and not problems:
        print(declared.NO_FEEDS)
    root = Path(options.data_dir or project.data_folder())
    with contextlib.closing(Session()) as session:
        found, failures = onboarding.onboard(session, root, entities, problems, options.names, dry_run=options.dry_run)
        print_errors(failures)
        files = landing.select(found, options.names, options.initial, problems)
        if options.names:
            selected = {file.feed for file in files} | {name.partition("/")[0] for name in options.names}
            problems = {feed: problem for feed, problem in problems.items() if feed in selected}
        unusable = [f"{problem} (nothing of the feed {feed} is loaded)" for feed, problem in problems.items()]
        print_errors(unusable)
        with session.transaction("preparing the raw tables", keep=not options.dry_run) as cursor:
            raw_tables.prepare(cursor, entities.values())
        theirs = [pattern for feed, pattern in declared.patterns().items() if feed in problems]
        files = [
            file
            for file in files
            if file.feed not in problems and (file.entity or not any(each.brand_in(file.feed) for each in theirs))
        ]
        results = itertools.chain(attempts(session, files, options), (None for _ in [*failures, *unusable]))
        words, is_well = summary(results, options.dry_run)
    print(words)
    return 0 if is_well else 1


def print_errors(errors: Iterable[str]) -> None:
    """Print what keeps some files from being loaded."""
    for error in errors:
        print(f"error: {printable(error)}", file=sys.stderr, flush=True)


def parse_arguments() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser("bin/ingest", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", metavar="D", help="the data root (default: GRANARY_DATA, or data)")
    parser.add_argument("--strict", action="store_true", help="refuse a file if any of its lines is rejected")
    parser.add_argument("--replace", action="store_true", help="load a changed file in place of its former batch")
    parser.add_argument(
        "--verify", action="store_true", help="read known files again, even if their times are the same"
    )
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


def attempts(session: Session, files: list[LandingFile], options: Namespace) -> Iterator[Result | None]:
    """Load files; yield what became of each. The ledger is read for some of them at a time."""
    for start in range(0, len(files), AT_ONCE):
        some, proven = files[start : start + AT_ONCE], []
        with session.transaction("reading the ledger", keep=False) as cursor:
            if options.dry_run:
                raw_tables.prepare(cursor, [])
            tables = {file.relative: (file.entity.feed, file.entity.name) for file in some if file.entity}
            ledger = raw_tables.known_files(cursor, tables)
        for file in some:
            result = attempt(session, file, ledger, options)
            if result and result.signature:
                proven.append((file.relative, result.batch.batch_id, result.signature))
            yield result
        if proven and not options.dry_run:
            with session.transaction("recording known files") as cursor:
                raw_tables.record_files(cursor, proven)


def attempt(session: Session, file: LandingFile, ledger: dict[str, Known], options: Namespace) -> Result | None:
    """Load a file, unless its bytes are known, and report it; on failure, record why and return None."""
    try:
        if not file.entity:
            raise landing.refusal(file)
        known = ledger.get(file.relative)
        signature = landing.signature(file)  # before the file is read: a change meanwhile shows the next time
        if known and signature and known.signature == signature and not options.verify:
            result = Result("known", known.batch)
        elif known and known.batch.bytes == file.size and known.batch.sha256 == streams.sha256(file):
            result = Result("known", known.batch, signature=signature)
        else:
            with session.transaction(file.relative, keep=not options.dry_run) as cursor:
                result = load(cursor, file, replace=options.replace, strict=options.strict, dry_run=options.dry_run)
            if result.replaced:  # other files may have been known as its
                for path in [path for path, each in ledger.items() if each.batch == result.replaced]:
                    del ledger[path]
    except (GranaryError, OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip data
        message = printable(error if isinstance(error, GranaryError) else f"{file.relative}: {error}")
        print(f"error: {message}", file=sys.stderr, flush=True)
        if file.entity and not options.dry_run:
            with contextlib.suppress(GranaryError), session.transaction(f"failure of {file.relative}") as cursor:
                raw_tables.record_failure(cursor, file.entity, file.relative, file.size, message, file.brand)
        return None
    if result.outcome != "known" or result.batch.path != file.relative or options.names:  # else the total is enough
        print(f"{result.outcome:<8} {file.label:<36} {result}", flush=True)
    return result


if __name__ == "__main__":
    project.run_main(main)
