"""The raw schema as the loader uses it: transactions, the ledger of batches, tables, columns and row ids.

Nothing here opens a landing file. Identifiers come from folder names and file headers, so each of them is quoted
through psycopg2.sql.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from granary import declared
from granary.declared import LONGEST_NAME, Entity
from granary.loader.names import repeated
from granary.project import GranaryError
from granary.server.connection import connect
from granary.server.lock import take_lock
from granary.text import MOST_COLUMNS

RAW_SQL = Path(__file__).resolve().parent / "raw.sql"
KEPT_TEXT = 1_000_000  # characters of a rejected line that are kept
SHOWN = 3  # rejected lines in the error for a file of which too many are
FIRST_LOOK = 10_000  # lines that are staged before the rejected ones are counted; each further look is at twice as many
SESSION_NAME = "granary: load"
MOST_KEYS = 1_000  # of one JSON object


@dataclasses.dataclass(frozen=True)
class Batch:
    """A row of the ledger, raw._batches, as the loader writes it."""

    batch_id: int
    feed: str
    entity: str
    path: str
    bytes: int | None
    first_row_id: int | None
    started_at: datetime.datetime
    sha256: str | None = None
    rows_read: int = 0
    rows_loaded: int = 0
    rows_rejected: int = 0
    status: str = "loaded"
    error: str | None = None


# -- Transactions ------------------------------------------------------------------------------------------------------


class Session:
    """One transaction after another on one connection, which is opened again if the server has closed it.

    Its name on the server shows between them, too, that a load isn't over.
    """

    def __init__(self) -> None:
        self.connection: psycopg2.extensions.connection | None = None

    @contextlib.contextmanager
    def transaction(self, what: str, *, keep: bool = True) -> Iterator[Any]:
        """Yield a cursor in a transaction that holds the lock; commit at the end if `keep` and nothing failed.

        An error of the server becomes a GranaryError that begins with `what`.
        """
        try:
            if not self.is_alive():
                self.connection = connect()
                self.connection.set_session(isolation_level="READ COMMITTED")
                self.connection.set_client_encoding("UTF8")
                with self.connection, self.connection.cursor() as cursor:
                    cursor.execute("select set_config('application_name', %s, false)", [SESSION_NAME])
            with self.connection.cursor() as cursor:
                take_lock(self.connection, what)
                yield cursor
            if keep:
                self.connection.commit()
        except psycopg2.Error as error:
            raise GranaryError(f"{what}: {'; '.join(str(error).strip().splitlines())}") from None
        finally:
            if self.connection:
                with contextlib.suppress(psycopg2.Error):  # without a connection, the server undoes it by itself
                    self.connection.rollback()

    def is_alive(self) -> bool:
        """Return whether the server answers on the connection."""
        if self.connection:
            with contextlib.suppress(psycopg2.Error), self.connection.cursor() as cursor:
                cursor.execute("select 1")
                return True
        return False

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self.connection:
            self.connection.close()


@contextlib.contextmanager
def transaction(what: str, *, keep: bool = True) -> Iterator[Any]:
    """Yield a cursor in a transaction on a connection of its own; see Session.transaction."""
    with contextlib.closing(Session()) as session, session.transaction(what, keep=keep) as cursor:
        yield cursor


# -- The ledger --------------------------------------------------------------------------------------------------------


def open_batch(cursor: Any, entity: Entity, path: str, size: int | None) -> Batch:
    """Return the next batch, whose id the database gives to every row that is copied in this transaction."""
    cursor.execute("""
        select
            greatest((select max(batch_id) from raw._batches), removed.last_value) + 1,
            row_ids.last_value + row_ids.is_called::int,
            clock_timestamp()
        from raw._last_removed_batch as removed, raw._row_ids as row_ids
    """)
    batch_id, first_row_id, started_at = cursor.fetchone()
    cursor.execute("select set_config('granary.batch_id', %s, true)", [str(batch_id)])
    return Batch(batch_id, entity.feed, entity.name, path, size, first_row_id, started_at)


def loaded_batches(cursor: Any) -> dict[str, Batch]:
    """Return the batches in use by the path of their file."""
    return {batch.path: batch for batch in select_batches(cursor, "true", [])}


def candidates(cursor: Any, batch: Batch) -> list[Batch]:
    """Return the batches of its entity that a batch may repeat or replace: of its path first, then of its size."""
    condition = "feed = %s and entity = %s and (path = %s or bytes = %s) order by path = %s desc, batch_id"
    return select_batches(cursor, condition, [batch.feed, batch.entity, batch.path, batch.bytes, batch.path])


def select_batches(cursor: Any, condition: str, values: list[Any]) -> list[Batch]:
    """Return the batches in use for which a condition is true."""
    columns = identifiers(field.name for field in dataclasses.fields(Batch))
    query = sql.SQL("select {} from raw._batches where status = 'loaded' and {}").format(columns, sql.SQL(condition))
    cursor.execute(query, values)
    return [Batch(*row) for row in cursor]


def close_batch(cursor: Any, batch: Batch, replaced: Batch | None) -> None:
    """Write a loaded batch into the ledger, in place of the one that it replaces."""
    if replaced:
        update = "update raw._batches set status = 'replaced', replaced_by_batch_id = %s where batch_id = %s"
        cursor.execute(update, [batch.batch_id, replaced.batch_id])
    write_ledger(cursor, batch)


def record_failure(cursor: Any, entity: Entity, path: str, size: int | None, error: str) -> None:
    """Write into the ledger why a file failed, unless its latest entry says the same."""
    cursor.execute("select status, error from raw._batches where path = %s order by batch_id desc limit 1", [path])
    if cursor.fetchone() != ("failed", error):
        batch = open_batch(cursor, entity, path, size)
        write_ledger(cursor, dataclasses.replace(batch, first_row_id=None, status="failed", error=error))


def accept(cursor: Any, batch_id: int, why: str) -> Batch:
    """Write into the ledger why the rejections of a batch in use are acceptable; return the batch."""
    found = select_batches(cursor, "batch_id = %s", [batch_id])
    if not found:
        raise GranaryError(f"there is no batch {batch_id} in use: marts.load_audit lists the batches")
    cursor.execute("select why from raw._accepted_batches where batch_id = %s", [batch_id])
    if before := cursor.fetchone():
        raise GranaryError(f"batch {batch_id} is accepted already: {before[0]}")
    cursor.execute("insert into raw._accepted_batches (batch_id, why) values (%s, %s)", [batch_id, why])
    return found[0]


def write_ledger(cursor: Any, batch: Batch) -> None:
    """Insert a batch into the ledger."""
    row = dataclasses.asdict(batch)
    values = sql.SQL(", ").join(map(sql.Literal, row.values()))
    execute(cursor, "insert into raw._batches ({}) values ({})", identifiers(row), values)


# -- Tables ------------------------------------------------------------------------------------------------------------


def prepare(cursor: Any, entities: Iterable[Entity]) -> None:
    """Create the ledger and the tables of the entities, so that models build even if a feed has no files."""
    cursor.execute(RAW_SQL.read_text("utf-8"))
    for entity in entities:
        execute(cursor, "create table if not exists {} (like raw._provenance including all)", raw(entity.table))
        add_columns(cursor, entity, entity.columns)


def add_columns(cursor: Any, entity: Entity, columns: Iterable[str], file: str = "") -> tuple[str, ...]:
    """Add to the entity's table those of the columns, as text, that it doesn't have; return them."""
    query = "select attname, attisdropped from pg_attribute where attrelid = %s::regclass and attnum > 0"
    cursor.execute(query, [raw(entity.table).as_string(cursor)])
    taken = dict(cursor.fetchall())  # dropped ones count, too
    new_columns = tuple(column for column in columns if taken.get(column, True))
    if new_columns and (count := len(taken) + len(new_columns)) > MOST_COLUMNS:
        raise GranaryError(
            f"{file}: raw.{entity.table} would have {count:,} columns, {len(new_columns):,} of them new, and a table"
            f" can have {MOST_COLUMNS:,}: leave out columns that no model needs"
        )
    for column in new_columns:
        execute(cursor, "alter table {} add {} text", raw(entity.table), sql.Identifier(column))
    return new_columns


def set_next_row_id(cursor: Any, batch: Batch, line: int) -> None:
    """Make the next row id the one of this line of the batch's file."""
    move_row_ids(cursor, batch.first_row_id + line - 1)


def move_row_ids(cursor: Any, next_row_id: int) -> None:
    """Set the next row id; the ids that this session holds in advance are dropped."""
    cursor.execute("select setval('raw._row_ids', %s, false)", [next_row_id])


def execute(cursor: Any, statement: str, *parts: sql.Composable) -> None:
    """Execute a statement with these parts, quoted, in its gaps."""
    cursor.execute(sql.SQL(statement).format(*parts))


def raw(name: str) -> sql.Identifier:
    """Return a table of the raw schema for a statement."""
    return sql.Identifier("raw", name)


def identifiers(names: Iterable[str], suffix: str = "") -> sql.Composed:
    """Return a list of column names, each with a suffix, for a statement."""
    return sql.SQL(", ").join(sql.Identifier(name) + sql.SQL(suffix) for name in names)


# -- Rows --------------------------------------------------------------------------------------------------------------


def copy_blocks(
    cursor: Any, entity: Entity, batch: Batch, columns: list[str], blocks: Iterable[bytes], first_line: int
) -> Batch | None:
    """COPY blocks of whole CSV lines; return the batch with its counts, or None, undone, unless each line is a row.

    The iterator of the blocks raises csv.Error where PostgreSQL might misread them.
    """
    if len(columns) == 1:
        return None  # COPY would take a blank line for a row
    lines = 0

    def counted_blocks() -> Iterator[bytes]:
        nonlocal lines
        for block in blocks:
            lines += block.count(b"\n") + (not block.endswith(b"\n"))
            yield block

    cursor.execute("savepoint untouched")
    set_next_row_id(cursor, batch, first_line)
    with contextlib.suppress(psycopg2.DataError, psycopg2.errors.ProgramLimitExceeded, csv.Error):
        rows = copy(cursor, entity.table, columns, counted_blocks(), not_null=columns)
        if rows == lines:
            set_next_row_id(cursor, batch, first_line + rows)
            return dataclasses.replace(batch, rows_read=rows, rows_loaded=rows)
    cursor.execute("rollback to savepoint untouched")
    return None


def copy(cursor: Any, table: str, columns: list[str], blocks: Iterator[bytes], not_null: list[str]) -> int:
    """COPY blocks of CSV into a raw table; return the number of rows. An error of the iterator is raised as it is.

    Empty fields are null, but '' in the columns that are `not_null`.
    """
    statement = sql.SQL("copy {} ({}) from stdin (format csv, encoding 'UTF8', force_not_null ({}))")
    statement = statement.format(raw(table), identifiers(columns), identifiers(not_null))
    errors = []

    def read(_size: int) -> bytes:
        try:
            return next(blocks, b"")
        except BaseException as error:  # psycopg2 would report it as the server's; Ctrl-C arrives here too
            errors.append(error)
            return b""

    try:
        cursor.copy_expert(statement, SimpleNamespace(read=read))
    finally:
        if errors:
            raise errors[0]
    return cursor.rowcount


def stage(cursor: Any, entity: Entity, batch: Batch, lines: Iterable[tuple[int, str, str | None, str | None]]) -> None:
    """Copy lines (number, text, problem, explanation) into raw._lines; stop early if too many are rejected."""
    cursor.execute("truncate raw._lines")  # if this load fails, its lines take no space
    rows = map(csv.writer(SimpleNamespace(write=str.encode)).writerow, lines)
    columns, size, staged = ["number", "text", "problem", "explanation"], FIRST_LOOK, 0
    while copied := copy(cursor, "_lines", columns, itertools.islice(rows, size), not_null=["text"]):
        staged += copied
        refuse_too_many_rejected(cursor, entity, batch)
        size = staged


def refuse_too_many_rejected(cursor: Any, entity: Entity, batch: Batch) -> None:
    """Raise GranaryError, with the first of them, if more of the staged lines are rejected than the source allows."""
    limits = declared.reject_limits(entity)
    cursor.execute(
        "select count(*), coalesce(sum(least(octet_length(text), %s)), 0) from raw._lines where reason <> 'blank'",
        [KEPT_TEXT],
    )
    rejected = dict(zip(("max_lines", "max_bytes"), cursor.fetchone(), strict=True))
    if not (over := next((name for name in rejected if rejected[name] > limits[name]), None)):
        return
    cursor.execute(
        "select number, coalesce(explanation, raw._explanation(text, reason)) from raw._lines"
        " where reason <> 'blank' order by number limit %s",
        [SHOWN],
    )
    what = "lines are" if over == "max_lines" else "bytes of lines are"
    raise GranaryError(
        f"{batch.path}: more than {limits[over]:,} {what} rejected, so that nothing of the file is loaded"
        f" ({'; '.join(f'line {number}: {why}' for number, why in cursor)}): correct it, or raise `{over}` of"
        f" `reject_limits` in the meta of {entity.feed}.{entity.name}"
    )


def staged_keys(cursor: Any) -> list[str]:
    """Return the keys of the staged JSON objects in the order of their first appearance."""
    query = """
        select key from raw._lines, json_object_keys(text::json) with ordinality as keys (key, position)
        where reason is null group by key order by min(number), min(position)
    """
    cursor.execute(query)
    if cursor.rowcount > MOST_KEYS:
        count = "(select count(*) from json_object_keys(text::json))"
        cursor.execute(
            "update raw._lines set problem = 'too_many_keys',"
            f" explanation = format('the object has %%s keys, and can have {MOST_KEYS:,}', {count})"
            f" where reason is null and {count} > %s",
            [MOST_KEYS],
        )
        cursor.execute(query)
    return [key for (key,) in cursor.fetchall()]


def insert_staged(
    cursor: Any, entity: Entity, batch: Batch, keys: dict[str, list[str]]
) -> tuple[Batch, int, tuple[str, ...]]:
    """Move the staged lines into the entity's table or the rejected lines, given the keys that mean each column.

    Returns the batch with its counts, the number of blank lines between others, and the columns that were added.
    """
    values = told_apart(cursor, entity, keys)
    new_columns = add_columns(cursor, entity, values, batch.path)
    insert = sql.SQL("insert into {} ({}) select {} from {} where reason is null").format(
        raw(entity.table),
        identifiers(["_row_id", *values]),
        sql.SQL(", ").join([sql.SQL("{} + number - 1").format(sql.Literal(batch.first_row_id)), *values.values()]),
        staged_rows(itertools.chain(*keys.values())),
    )
    cursor.execute("savepoint staged")
    try:
        cursor.execute(insert)
        rows_loaded = cursor.rowcount
    except psycopg2.errors.ProgramLimitExceeded:  # a row is too big for a page
        cursor.execute("rollback to savepoint staged")
        cursor.execute("select raw._insert_one_by_one(%s)", [insert.as_string(cursor)])
        [rows_loaded] = cursor.fetchone()
    refuse_too_many_rejected(cursor, entity, batch)  # again: the insert may have rejected further ones
    cursor.execute(
        "insert into raw._rejected_lines (batch_id, line_number, line, reason, explanation)"
        " select %s, number, left(text, %s), reason, coalesce(explanation, raw._explanation(text, reason))"
        " from raw._lines where reason <> 'blank'",
        [batch.batch_id, KEPT_TEXT],
    )
    rows_rejected = cursor.rowcount
    last = "(select max(number) from raw._lines where reason is distinct from 'blank')"
    blank = f"sum(coalesce(explanation::bigint, 1)) filter (where reason = 'blank' and number < {last})"
    cursor.execute(f"select max(number), coalesce({blank}, 0)::bigint from raw._lines")
    last_line, blank_lines = cursor.fetchone()
    set_next_row_id(cursor, batch, (last_line or 1) + 1)
    cursor.execute("truncate raw._lines")
    counts = {"rows_read": rows_loaded + rows_rejected, "rows_loaded": rows_loaded, "rows_rejected": rows_rejected}
    return dataclasses.replace(batch, **counts), blank_lines, new_columns


def told_apart(cursor: Any, entity: Entity, keys: dict[str, list[str]]) -> dict[str, sql.Composable]:
    """Return the expression of each column over staged_rows.

    A line with values for two keys of one column is rejected if the column is declared; else the second value gets a
    column of its own.
    """
    found: dict[str, sql.Composable] = {}
    for column, same in keys.items():
        if len(same) == 1:
            found[column] = staged_value(same[0])
            continue
        values = sql.SQL("array_remove(array[{}], null)").format(sql.SQL(", ").join(map(staged_value, same)))
        execute(cursor, "select max(cardinality({})) from {} where reason is null", values, staged_rows(same))
        most = cursor.fetchone()[0] or 1
        if most > 1 and column in entity.columns:
            ambiguous = "select _lines.ctid from {} where reason is null and cardinality({}) > 1"
            ambiguous = sql.SQL(ambiguous).format(staged_rows(same), values)
            why = sql.Literal(f"{' and '.join(map(json.dumps, same))} both become {column}")
            update = "update raw._lines set problem = 'ambiguous_key', explanation = {} where ctid in ({})"
            execute(cursor, update, why, ambiguous)
            most = 1
        for number in range(1, most + 1):
            found[repeated(column, number)] = sql.SQL("({})[{}]").format(values, sql.Literal(number))
    return found


def staged_rows(keys: Iterable[str]) -> sql.Composable:
    """Return a from clause over the staged lines that has the values of these keys in `fields`."""
    if names := list(filter(is_identifier, keys)):
        rows = "raw._lines cross join lateral json_to_record(text::json) as fields ({})"
        return sql.SQL(rows).format(identifiers(names, " text"))
    return sql.SQL("raw._lines")


def staged_value(key: str) -> sql.Composable:
    """Return the expression of a key's value over staged_rows."""
    if is_identifier(key):
        return sql.Identifier("fields", key)
    return sql.SQL("text::json ->> {}").format(sql.Literal(key))


def is_identifier(key: str) -> bool:
    """Return whether a key can be a name in SQL."""
    return 0 < len(key.encode()) <= LONGEST_NAME


def first_rejected(cursor: Any, batch: Batch) -> str:
    """Return which line of a batch was rejected first, and why."""
    query = "select line_number, explanation from raw._rejected_lines where batch_id = %s order by line_number limit 1"
    cursor.execute(query, [batch.batch_id])
    return "line {}: {}".format(*cursor.fetchone())
