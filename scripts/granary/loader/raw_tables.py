"""The raw schema as the loader uses it: transactions, the ledger of batches, tables, columns and row ids.

Nothing here opens a landing file. Identifiers come from folder names and file headers, so each of them is quoted
through psycopg2.sql.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from granary.declared import Entity
from granary.project import GranaryError
from granary.server.connection import connect
from granary.server.lock import take_lock

RAW_SQL = Path(__file__).resolve().parent / "raw.sql"
KEPT_TEXT = 1_000_000  # characters of a rejected line that are kept


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
    """One transaction after another on one connection, which is opened again if the server has closed it."""

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
            with self.connection.cursor() as cursor:
                take_lock(self.connection, what, transaction=True)
                yield cursor
            if keep:
                self.connection.commit()
        except psycopg2.Error as error:
            raise GranaryError(f"{what}: {str(error).strip()}") from None
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
    cursor.execute(
        "insert into raw._accepted_batches (batch_id, why) values (%s, %s)"
        " on conflict (batch_id) do update set why = excluded.why, accepted_at = excluded.accepted_at",
        [batch_id, why],
    )
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


def add_columns(cursor: Any, entity: Entity, columns: Iterable[str]) -> tuple[str, ...]:
    """Add to the entity's table those of the columns, as text, that it doesn't have; return them."""
    query = "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
    cursor.execute(query, [raw(entity.table).as_string(cursor)])
    existing = {name for (name,) in cursor.fetchall()}
    new_columns = tuple(column for column in columns if column not in existing)
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
    with contextlib.suppress(psycopg2.DataError, csv.Error):
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


def stage(cursor: Any, lines: Iterable[tuple[int, str, str | None, str | None]]) -> int:
    """Copy lines (number, text, problem, explanation) into raw._lines; return how many there are."""
    rows = map(csv.writer(SimpleNamespace(write=str.encode)).writerow, lines)
    return copy(cursor, "_lines", ["number", "text", "problem", "explanation"], rows, not_null=["text"])


def staged_names(cursor: Any) -> list[str]:
    """Return the keys of the staged JSON objects in the order of their first appearance."""
    cursor.execute(
        "select key from raw._lines, json_object_keys(text::json) with ordinality as keys (key, position)"
        " where reason is null group by key order by min(number), min(position)"
    )
    return [key for (key,) in cursor.fetchall()]


def insert_staged(cursor: Any, entity: Entity, batch: Batch, names: list[str], columns: list[str]) -> Batch:
    """Move the staged lines into the entity's table or the rejected lines; return the batch with their counts."""
    rows_loaded = 0
    if columns:
        insert = "insert into {} (_row_id, {}) select {} + number - 1, fields.* from raw._lines"
        insert += " cross join lateral json_to_record(text::json) as fields ({}) where reason is null"
        parts = identifiers(columns), sql.Literal(batch.first_row_id), identifiers(names, " text")
        execute(cursor, insert, raw(entity.table), *parts)
        rows_loaded = cursor.rowcount
    cursor.execute(
        "insert into raw._rejected_lines (batch_id, line_number, line, reason, explanation)"
        " select %s, number, left(text, %s), reason, coalesce(explanation, raw._explanation(text, reason))"
        " from raw._lines where reason is not null",
        [batch.batch_id, KEPT_TEXT],
    )
    rows_rejected = cursor.rowcount
    cursor.execute("select coalesce(max(number), 1) + 1 from raw._lines")
    set_next_row_id(cursor, batch, cursor.fetchone()[0])
    cursor.execute("truncate raw._lines")
    return dataclasses.replace(batch, rows_loaded=rows_loaded, rows_rejected=rows_rejected)


def first_rejected(cursor: Any, batch: Batch) -> str:
    """Return which line of a batch was rejected first, and why."""
    query = "select line_number, explanation from raw._rejected_lines where batch_id = %s order by line_number limit 1"
    cursor.execute(query, [batch.batch_id])
    return "line {}: {}".format(*cursor.fetchone())
