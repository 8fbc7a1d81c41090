"""Say how files would load, and how each value would be read, before anything is loaded.

The feed and the table of a file below the data folder are those of its path. For a file elsewhere, --feed and --table
name them; without these, its header does, if it has the columns of one declared table.

The file is loaded into a transaction that is undone, and read by the project's own macros, so what is shown is what a
build would read. Nothing stays in the database, but a load or a build that begins meanwhile waits.

The exit code is 0 if everything would load, and 1 if a line or a value would be rejected, or a file refused. A file
whose bytes are loaded already is read again as the sources declare it now; to load it would change nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import decimal
import os
import re
import shlex
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from psycopg2 import sql

from granary import brands, dbt_sql, declared, project, rules, spelling
from granary.declared import Entity
from granary.loader import headers, landing, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.load import load
from granary.loader.raw_tables import Batch, Session
from granary.loader.results import Result
from granary.new_feed.readings import Reading
from granary.project import GranaryError
from granary.server.connection import connect
from granary.text import abridged, column_name, counted, print_table, printable, snake_case

SHOWN_LINES = 10  # rejected ones
ADDED = {brands.COLUMN: "the brand", brands.EXTRA: "what isn't declared"}  # by safe_rows, and else currencies
SHOWN_ROWS = 5
WIDTH = 24  # characters of a value in the table
MOST_DECIMALS = 4  # of amounts and prices; those of other numbers depend on the value
DAMAGED = (GranaryError, OSError, EOFError, zlib.error)  # the last two: damaged gzip data


class Compared(NamedTuple):
    """A file as one of a landing table, with the columns that it has if it is read so."""

    file: LandingFile
    columns: set[str]

    @property
    def shared(self) -> int:
        """Return how many columns of the table the file has."""
        return len(self.columns.intersection(self.file.entity.columns))

    @property
    def lacking(self) -> list[str]:
        """Return the columns without which the file doesn't load."""
        entity = self.file.entity
        return [name for name in entity.columns if name not in self.columns and name not in entity.optional]


class Queries(NamedTuple):
    """The SQL that reads a landing table: its safe rows, and the values that are rejected."""

    safe_rows: str
    rejected_values: str


def check(options: argparse.Namespace) -> int:
    """Check the files that the command line names; return 1 if anything would be rejected or refused, else 0."""
    files, are_well = [], True
    for name in options.files:
        try:
            files.append(recognized(Path(name), options.feed, options.table))
        except DAMAGED as error:
            are_well = refused(name, error)
    entities = {named(file.entity): file.entity for file, _ in files}
    problems = problems_of(entities)
    queries = compiled({name: entity for name, entity in entities.items() if name not in problems})
    with contextlib.closing(Session()) as session:
        for file, why in files:
            try:
                if problem := problems.get(named(file.entity)):
                    raise GranaryError(problem)
                are_well &= try_out(session, file, why, queries[named(file.entity)])
            except DAMAGED as error:
                are_well = refused(str(file.path), error)
    return 0 if are_well else 1


def refused(name: str, error: Exception) -> bool:
    """Print why a file would not load; return False."""
    message = str(error) if isinstance(error, GranaryError) else f"{name}: {error}"
    print(f"refused: {printable(message)}", file=sys.stderr, flush=True)
    return False


def named(entity: Entity) -> str:
    """Return the name of a landing table as people write it."""
    return f"{entity.feed}.{entity.name}"


# -- Which table it is -------------------------------------------------------------------------------------------------


def recognized(path: Path, feed: str | None, table: str | None) -> tuple[LandingFile, str]:
    """Return a file with its landing table, and in words why it is this one.

    Raises GranaryError if there is no such file, or no declared table for it.
    """
    if not path.is_file():
        raise GranaryError(f"{path}: {'a folder: name its files' if path.is_dir() else 'there is no such file'}")
    entities, problems = declared.declarations()
    root = project.data_folder()
    if name := name_below(root, path):
        file = landing.landing_file(root, Path(os.path.realpath(root)), name, landing.owners(entities, problems))
        if problem := problems.get(file.feed):
            raise GranaryError(problem)
        if not file.entity:
            raise landing.refusal(file)
        if (feed or file.entity.feed, table or file.entity.name) != (file.entity.feed, file.entity.name):
            raise GranaryError(f"{path}: its path says {named(file.entity)}: leave out --feed and --table")
        return file, "by its path"
    if not landing.FORMAT.search(path.name):
        raise GranaryError(f"{path}: not a kind of file that can be loaded (docs/formats.md): export it as CSV")
    candidates = chosen(entities, problems, feed, table)
    if feed and table:
        return LandingFile(path.parent, path.name, candidates[0]), "as --feed and --table say"
    return by_header(path, candidates)


def name_below(root: Path, path: Path) -> str | None:
    """Return the path from the data root of a file that bin/ingest would look at; None for any other."""
    absolute, home = os.path.abspath(path), os.path.abspath(root)
    for folder in ("initial", "incremental"):
        if absolute.startswith(f"{home}/{folder}/"):
            return os.path.relpath(absolute, home)
    return None


def chosen(
    entities: Mapping[tuple[str, str], Entity], problems: Mapping[str, str], feed: str | None, table: str | None
) -> list[Entity]:
    """Return the landing tables that --feed and --table leave. Raises GranaryError if there are none."""
    if feed in problems or not entities:
        raise GranaryError(problems.get(feed) or next(iter(problems.values()), declared.NO_FEEDS))
    for option, name, known in (
        ("feed", feed, {feed for feed, _ in entities}),
        ("table", table, {entity for of_feed, entity in entities if feed in (None, of_feed)}),
    ):
        if name and name not in known:
            raise GranaryError(f"--{option} {name}: there is no such {option}: {rules.choice(name, known)}")
    return [each for each in entities.values() if feed in (None, each.feed) and table in (None, each.name)]


def by_header(path: Path, candidates: list[Entity]) -> tuple[LandingFile, str]:
    """Return a file with the landing table whose columns it has.

    Raises GranaryError if none or several are as near, and what reading the file raises if no format reads it.
    """
    compared, failure = [], None
    for entity in candidates:
        file = LandingFile(path.parent, path.name, entity)
        try:
            compared.append(Compared(file, {*map(column_name, headers.names_in(file))}))
        except DAMAGED as error:
            failure = error
    if failure and not compared:
        raise failure
    fitting = [each for each in compared if each.shared and not each.lacking]
    best = [each for each in fitting if each.shared == max(other.shared for other in fitting)]
    if len(best) == 1:
        return best[0].file, "no other table has its columns"
    if best:
        tables = " or ".join(options_for(each.file.entity) for each in best)
        raise GranaryError(f"{path}: several declared tables have its columns: choose one with {tables}")
    raise unknown(path, compared)


def options_for(entity: Entity) -> str:
    """Return the options that name a landing table."""
    return f"--feed {entity.feed} --table {entity.name}"


def unknown(path: Path, compared: list[Compared]) -> GranaryError:
    """Return the error for a file that has the columns of no landing table.

    It names the nearest table, and the command that makes a feed of the file.
    """
    nearest = max(compared, key=lambda each: each.shared / (len(each.columns.union(each.file.entity.columns)) or 1))
    near, entity = "", nearest.file.entity
    if nearest.shared:
        near = (
            f"; the nearest is {named(entity)}, which also needs {', '.join(nearest.lacking)} ({options_for(entity)})"
        )
    stem = path.name[: landing.FORMAT.search(path.name).start()]
    name = snake_case(re.sub(r"[\W\d_]+", " ", stem)) or "files"
    return GranaryError(
        f"{path}: no declared table has its columns{near}. To make a feed of it:  bin/feed new {name} rows"
        f" {shlex.quote(str(path))}"
    )


# -- What is declared --------------------------------------------------------------------------------------------------


def problems_of(entities: Mapping[str, Entity]) -> dict[str, str]:
    """Return what is wrong with the rules of landing tables, by their names."""
    if not entities:
        return {}
    with contextlib.closing(connect()) as connection:
        return rules.problems_of(entities.values(), connection)


def compiled(entities: Mapping[str, Entity]) -> dict[str, Queries]:
    """Return the SQL that reads landing tables, by their names."""
    calls = [
        f"{{{{ {macro}('{entity.feed}', '{entity.name}') }}}}"
        for entity in entities.values()
        for macro in Queries._fields
    ]
    parts = iter(dbt_sql.compiled(calls) if calls else [])
    return {name: Queries(next(parts), next(parts)) for name in entities}


def declaration(entity: Entity) -> str:
    """Return how the files of a landing table are read, in words."""
    settings = [f"{name} {value!r}" for name, value in entity.format.items()]
    settings += [f"records {entity.records}"] if entity.records else []
    return ", ".join(settings) or "as usual"


def reading_of(entity: Entity, column: str) -> Reading:
    """Return how a column is declared to be read."""
    meta = entity.rules.get(column) or {}
    settings = tuple((name, meta[name]) for name in spelling.TAKEN_BY if name in meta)
    return Reading(meta.get("parse") or "text", settings)


# -- What would become of it -------------------------------------------------------------------------------------------


def try_out(session: Session, file: LandingFile, why: str, queries: Queries) -> bool:
    """Load a file, print what became of it, and undo it; return whether nothing was rejected or refused."""
    entity = file.entity
    print(f"{file.relative}: {named(entity)} ({why}), format: {declaration(entity)}", flush=True)
    with session.transaction(f"check of {file.relative}", keep=False) as cursor:
        raw_tables.prepare(cursor, [entity])
        with raw_tables.undone(cursor):
            result = load(cursor, file, replace=True)
            print_lines(cursor, result)
            print_columns(cursor, entity, result)
            print_rows(cursor, entity, result.batch, queries)
            rejected = list(rejections(cursor, entity, result.batch, queries))
    for each in rejected:
        print(f"  {each}")
    is_well = not (rejected or result.batch.rows_rejected or result.replaced)
    if result.replaced:
        print(
            f"  refused: batch {result.replaced.batch_id} was loaded from this path with other bytes: deliver"
            f" corrections in a new file, or replace that batch with: bin/ingest --replace {file.label}"
        )
    elif result.outcome == "known":
        print(f"  known: batch {result.batch.batch_id} ({result.batch.path}) has these bytes, so nothing would change")
    elif is_well:
        print("  everything would load")
    return is_well


def print_lines(cursor: Any, result: Result) -> None:
    """Print how many rows a batch has, and the first of its rejected lines."""
    batch, blank = result.batch, f", {counted(result.blank_lines, 'blank line')}" if result.blank_lines else ""
    print(f"  {counted(batch.rows_read, 'row')}, {counted(batch.rows_rejected, 'line')} rejected{blank}")
    cursor.execute(
        "select line_number, explanation, reason from raw._rejected_lines where batch_id = %s"
        " order by line_number limit %s",
        [batch.batch_id, SHOWN_LINES],
    )
    for number, explanation, reason in cursor:
        print(f"    line {number}: {printable(explanation)} ({reason})")
    if batch.rows_rejected > SHOWN_LINES:
        print(f"    and {batch.rows_rejected - SHOWN_LINES:,} more")


def print_columns(cursor: Any, entity: Entity, result: Result) -> None:
    """Print the columns that are new, and those that are declared and have no value."""
    for column in result.new_columns:
        print(f"  new column {column}: kept as text, but no model sees it until the source declares it")
    counts = sql.SQL(", ").join(sql.SQL("count({})").format(sql.Identifier(name)) for name in entity.columns)
    raw_tables.execute(
        cursor,
        "select {} from {} where _batch_id = {}",
        counts,
        raw_tables.raw(entity.table),
        sql.Literal(result.batch.batch_id),
    )
    missing = [name for name, count in zip(entity.columns, cursor.fetchone(), strict=True) if not count]
    if missing and result.batch.rows_loaded:
        print(f"  missing, or without a value: {', '.join(missing)}")


def print_rows(cursor: Any, entity: Entity, batch: Batch, queries: Queries) -> None:
    """Print the first rows as staging would have them: a column in each line, which a terminal has room for."""
    cursor.execute(
        f"select * from ({queries.safe_rows}) as safe"
        f" where _batch_id = {batch.batch_id} order by _row_id limit {SHOWN_ROWS}"
    )
    rows = [dict(zip((column.name for column in cursor.description), row, strict=True)) for row in cursor]
    if not rows:
        print("  no row would be safe to use")
        return
    header = ["column", "read as", *(f"line {line_of(row['_row_id'], batch)}" for row in rows)]
    columns = [name for name in rows[0] if name not in ("_batch_id", "_row_id")]
    print_table(
        header,
        [
            [
                name,
                str(reading_of(entity, name)) if name in entity.columns else ADDED.get(name, "its currency"),
                *(shown(row[name]) for row in rows),
            ]
            for name in columns
        ],
    )


def shown(value: Any) -> str:
    """Return a value for the table: nothing for null, and a number without the zeros that only its type adds."""
    if isinstance(value, decimal.Decimal) and value.as_tuple().exponent < -MOST_DECIMALS:
        value = f"{value.normalize():f}"
    return "" if value is None else abridged(str(value), WIDTH)


def rejections(cursor: Any, entity: Entity, batch: Batch, queries: Queries) -> Iterator[str]:
    """Yield of each column and reason how many values would be rejected, with an example."""
    cursor.execute(
        f"""
        select
            column_name, explanation, severity, count(*), min(_row_id),
            (array_agg(delivered_value order by _row_id))[1]
        from ({queries.rejected_values}) as rejected
        where _batch_id = {batch.batch_id} and column_name is not null
        group by column_name, explanation, severity
        """
    )
    found = sorted(cursor.fetchall(), key=lambda each: (entity.columns.index(each[0]), each[4]))
    for column, explanation, severity, count, row_id, value in found:
        said = explanation.replace("required, but missing", "is missing, but required")
        said = re.sub("^is ", "are ", said) if count > 1 else said
        example = f"such as {abridged(value)!r} on" if value is not None else "first on"
        cost = "its row is rejected" if severity == "row" else "it is null"
        cost = cost if count == 1 else {"row": "their rows are rejected", "value": "they are null"}[severity]
        yield (f"{column}: {count:,} of {batch.rows_loaded:,} {said}, {example} line {line_of(row_id, batch)} ({cost})")


def line_of(row_id: int, batch: Batch) -> int:
    """Return the line of a row in its file."""
    return row_id - batch.first_row_id + 1
