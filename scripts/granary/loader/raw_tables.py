"""The raw schema as the loader uses it: transactions, the ledger of batches, tables, columns and row ids.

Identifiers come from folder names and file headers, so each of them is quoted through psycopg2.sql.
"""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
from psycopg2 import sql

from granary.declared import Entity
from granary.loader import landing
from granary.loader.landing import LandingFile
from granary.project import GranaryError
from granary.server.connection import connect
from granary.server.lock import take_lock

RAW_SQL = Path(__file__).resolve().parent / "raw.sql"


@contextlib.contextmanager
def transaction(what: str, *, keep: bool = True) -> Iterator[Any]:
    """Give a cursor in a transaction with the lock, on a connection of its own; undo everything unless it is to `keep`.

    An error of the server's becomes a GranaryError that begins with `what`.
    """
    try:
        with contextlib.closing(connect()) as connection:
            connection.set_session(isolation_level="READ COMMITTED")
            connection.set_client_encoding("UTF8")
            with connection.cursor() as cursor:
                take_lock(connection, what, transaction=True)
                yield cursor
                if keep:
                    connection.commit()
    except psycopg2.Error as error:
        raise GranaryError(f"{what}: {str(error).strip()}") from None


# -- The ledger --------------------------------------------------------------------------------------------------------


def open_batch(cursor: Any, file: LandingFile) -> dict[str, Any]:
    """Return the ledger's row of the next batch, whose number every row that is copied gets by the column's default."""
    next_batch = "(select coalesce(max(batch_id), 0) + 1 from raw._batches)"
    cursor.execute(f"select {next_batch}, last_value + is_called::int, clock_timestamp() from raw._row_ids")
    batch = dict(zip(("batch_id", "first_row_id", "started_at"), cursor.fetchone(), strict=True))
    cursor.execute("select set_config('granary.batch_id', %s, true)", [str(batch["batch_id"])])
    size = file.path.stat().st_size if file.path.exists() else None
    known = {"feed": file.entity.feed, "entity": file.entity.name, "path": file.relative, "bytes": size}
    return {**batch, **known, "rows_read": 0, "rows_loaded": 0, "rows_rejected": 0}


def look_up(
    cursor: Any, file: LandingFile, batch: dict[str, Any], replace: bool
) -> tuple[dict[str, Any] | None, int | None]:
    """Return (the id and path of the loaded batch that has the file's bytes already, the id of the one to replace)."""
    cursor.execute(
        "select batch_id, sha256, path from raw._batches where feed = %(feed)s and entity = %(entity)s"
        " and status = 'loaded' and (path = %(path)s or bytes = %(bytes)s) order by path = %(path)s desc, batch_id",
        batch,
    )
    candidates = cursor.fetchall()
    with landing.opened(file) as (source, _):
        digest = source.digest() if candidates else None  # files of another size have other bytes
    changed = [batch_id for batch_id, sha256, path in candidates if path == file.relative and sha256 != digest]
    if changed and not replace:
        raise GranaryError(
            f"{file.relative}: batch {changed[0]} was loaded from this path with other bytes; deliver corrections in a"
            f" new file, or replace that batch with: bin/ingest --replace {file.label}"
        )
    same = [(batch_id, path) for batch_id, sha256, path in candidates if sha256 == digest and not changed]
    known = dict(zip(("batch_id", "path"), same[0], strict=True)) if same else None
    return known, next(iter(changed), None)


def close_batch(cursor: Any, batch: dict[str, Any], replaced: int | None) -> None:
    """Write down what was loaded, and move on to row ids that no line of the file stands for."""
    update = "update raw._batches set status = 'replaced', replaced_by_batch_id = %s where batch_id = %s"
    cursor.execute(update, [batch["batch_id"], replaced])
    move_row_ids(cursor, batch["first_row_id"] + batch.pop("lines"))
    write_ledger(cursor, {**batch, "status": "loaded"})


def record_failure(file: LandingFile, error: str) -> None:
    """Write down why a file failed, unless that is known, in a transaction of its own, if the warehouse is there."""
    with contextlib.suppress(GranaryError), transaction(f"failure of {file.relative}") as cursor:
        last = "select status, error from raw._batches where path = %s order by batch_id desc limit 1"
        cursor.execute(last, [file.relative])
        if cursor.fetchone() != ("failed", error):
            write_ledger(cursor, open_batch(cursor, file) | {"first_row_id": None, "status": "failed", "error": error})


def write_ledger(cursor: Any, row: dict[str, Any]) -> None:
    """Insert a row into the ledger."""
    values = sql.SQL(", ").join(map(sql.Literal, row.values()))
    execute(cursor, "insert into raw._batches ({}) values ({})", identifiers(row), values)


# -- Tables ------------------------------------------------------------------------------------------------------------


def prepare(cursor: Any, entities: Iterable[Entity]) -> None:
    """Create the ledger and the tables of the entities, so that models build where a feed has no files."""
    cursor.execute(RAW_SQL.read_text("utf-8"))
    for entity in entities:
        execute(cursor, "create table if not exists {} (like raw._provenance including all)", raw(entity.table))
        add_columns(cursor, entity, missing_columns(cursor, entity, entity.columns))


def missing_columns(cursor: Any, entity: Entity, columns: Iterable[str]) -> list[str]:
    """Return those of the columns that the entity's table doesn't have."""
    query = "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped"
    cursor.execute(query, [raw(entity.table).as_string(cursor)])
    existing = {name for (name,) in cursor.fetchall()}
    return [column for column in columns if column not in existing]


def add_columns(cursor: Any, entity: Entity, columns: Iterable[str]) -> None:
    """Add text columns to the entity's table."""
    for column in columns:
        execute(cursor, "alter table {} add {} text", raw(entity.table), sql.Identifier(column))


def move_row_ids(cursor: Any, next_row_id: int) -> None:
    """Set the next row id, and so drop the ids that this session holds in advance."""
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
        except BaseException as error:  # psycopg2 would make it an error of the server's; Ctrl-C arrives here too
            errors.append(error)
            return b""

    try:
        cursor.copy_expert(statement, SimpleNamespace(read=read))
    finally:
        if errors:
            raise errors[0]
    return cursor.rowcount


def stage(cursor: Any, file: LandingFile, batch: dict[str, Any]) -> None:
    """Copy a file's lines, good and bad, into raw._lines."""
    with landing.opened(file) as (source, stream):
        rows = map(csv.writer(SimpleNamespace(write=str.encode)).writerow, landing.read_lines(file, stream))
        batch["rows_read"] = copy(cursor, "_lines", ["number", "text", "problem"], rows, not_null=["text"])
        batch["sha256"] = source.digest()


def staged_names(cursor: Any) -> list[str]:
    """Return the keys of the JSON objects that are staged, in the order in which they come."""
    cursor.execute(
        "select key from raw._lines, json_object_keys(text::json) with ordinality as keys (key, position)"
        " where reason is null group by key order by min(number), min(position)"
    )
    return [key for (key,) in cursor.fetchall()]


def insert_staged(cursor: Any, file: LandingFile, batch: dict[str, Any], names: list[str], columns: list[str]) -> None:
    """Insert the lines that are staged where they belong: as rows of the entity's table, or set aside."""
    if columns:
        insert = "insert into {} (_row_id, {}) select {} + number - 1, fields.* from raw._lines"
        insert += " cross join lateral json_to_record(text::json) as fields ({}) where reason is null"
        parts = identifiers(columns), sql.Literal(batch["first_row_id"]), identifiers(names, " text")
        execute(cursor, insert, raw(file.entity.table), *parts)
        batch["rows_loaded"] = cursor.rowcount
    insert = "insert into raw._rejected_lines select %s, number, left(text, %s), reason from raw._lines"
    cursor.execute(f"{insert} where reason is not null", [batch["batch_id"], landing.KEPT_TEXT])
    batch["rows_rejected"] = cursor.rowcount
    cursor.execute("select coalesce(max(number), 1) from raw._lines")
    batch["lines"] = cursor.fetchone()[0]
    cursor.execute("truncate raw._lines")


def first_rejected(cursor: Any, batch: dict[str, Any]) -> str:
    """Return which line of a batch was rejected first, and why."""
    query = "select line_number, reason from raw._rejected_lines where batch_id = %s order by line_number limit 1"
    cursor.execute(query, [batch["batch_id"]])
    return "line {}: {}".format(*cursor.fetchone())
