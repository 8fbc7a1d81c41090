"""The raw schema as the loader uses it: transactions, the ledger of batches, tables, columns and row ids.

Identifiers come from folder names and file headers, so each of them is quoted through psycopg2.sql.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
from psycopg2 import sql

import landing
import warehouse
from landing import Entity, LandingFile
from warehouse import GranaryError

RAW_SQL = Path(__file__).resolve().parent / "raw.sql"


@contextlib.contextmanager
def transaction(what: str | None) -> Iterator[Any]:
    """Give a cursor in a transaction on a connection of its own, with the lock if `what` writes; None only reads."""
    with contextlib.closing(warehouse.connect()) as connection:
        connection.set_session(isolation_level="READ COMMITTED", readonly=what is None)
        connection.set_client_encoding("UTF8")
        with connection, connection.cursor() as cursor:
            if what:
                warehouse.take_lock(connection, what, transaction=True)
            yield cursor


def look_up(cursor: Any, file: LandingFile, replace: bool) -> tuple[int | None, int | None, str | None]:
    """Return (the batch that has these bytes, the batch to replace, the file's hash if it was needed)."""
    cursor.execute("select to_regclass('raw._batches') is not null")
    if not cursor.fetchone()[0]:  # a dry run in an empty warehouse
        return None, None, None
    cursor.execute(
        "select batch_id, sha256, path = %(path)s from raw._batches where feed = %(feed)s and entity = %(entity)s"
        " and status = 'loaded' and (path = %(path)s or bytes = %(bytes)s) order by path = %(path)s desc, batch_id",
        identity(file),
    )
    batches = cursor.fetchall()
    digest = landing.sha256(file) if batches else None  # files of another size have other bytes
    if batches and batches[0][2] and batches[0][1] != digest:
        if replace:
            return None, batches[0][0], digest
        raise GranaryError(
            f"{file.relative}: batch {batches[0][0]} was loaded from this path with other bytes; deliver corrections"
            f" in a new file, or replace that batch with: bin/ingest --replace {file.label}"
        )
    return next((batch_id for batch_id, sha256, _ in batches if sha256 == digest), None), None, digest


def open_batch(cursor: Any, file: LandingFile) -> dict[str, Any]:
    """Number the next batch, which every row that is copied gets by the column's default."""
    next_batch = "(select coalesce(max(batch_id), 0) + 1 from raw._batches)"
    query = f"select {next_batch}, last_value + is_called::int, clock_timestamp() from {{}}"
    cursor.execute(sql.SQL(query).format(row_ids(file.entity)))
    batch = dict(zip(("batch_id", "first_row_id", "started_at"), cursor.fetchone(), strict=True))
    cursor.execute("select set_config('granary.batch_id', %s, true)", [str(batch["batch_id"])])
    return batch


def close_batch(
    cursor: Any, file: LandingFile, batch: dict[str, Any], header: Any, copied: Any, replaced: int | None
) -> None:
    """Write down what was loaded, and move on to row ids that no line of the file stands for."""
    if replaced:
        update = "update raw._batches set status = 'replaced', replaced_by_batch_id = %s where batch_id = %s"
        cursor.execute(update, [batch["batch_id"], replaced])
    counts = {"rows_read": copied.read, "rows_loaded": copied.loaded, "rows_rejected": copied.rejected}
    facts = {"status": "loaded", "sha256": copied.sha256, "numbered_by": header.numbered_by}
    write_ledger(cursor, {**identity(file), **batch, **counts, **facts})
    move_row_ids(cursor, file.entity, batch["first_row_id"] + copied.lines)


def record_failure(file: LandingFile, message: str) -> None:
    """Write down why a file could not be loaded, in a transaction of its own, if the warehouse can still be reached."""
    with contextlib.suppress(GranaryError, psycopg2.Error), transaction(f"failure of {file.label}") as cursor:
        failure = {"first_row_id": None, "status": "failed", "error": message.replace("\0", "\\0")}
        write_ledger(cursor, {**identity(file), **open_batch(cursor, file), **failure})


def write_ledger(cursor: Any, row: dict[str, Any]) -> None:
    """Insert a row into the ledger."""
    names, places = identifiers(row), sql.SQL(", ").join(map(sql.Placeholder, row))
    cursor.execute(sql.SQL("insert into raw._batches ({}) values ({})").format(names, places), row)


def identity(file: LandingFile) -> dict[str, Any]:
    """Return what the ledger knows a file by."""
    size = file.path.stat().st_size if file.path.exists() else None
    return {"feed": file.entity.feed, "entity": file.entity.name, "path": file.relative, "bytes": size}


def prepare(entities: Iterable[Entity]) -> None:
    """Create the ledger and the table of every declared entity, so that models build where a feed has no files."""
    with transaction("preparing the raw tables") as cursor:
        cursor.execute(RAW_SQL.read_text("utf-8"))
        for entity in entities:
            cursor.execute(sql.SQL("create sequence if not exists {} cache 1000").format(row_ids(entity)))
            if missing_columns(cursor, entity, ["_batch_id"]):
                create = (
                    "create table {0} (_batch_id bigint not null default current_setting('granary.batch_id')::bigint,"
                    " _row_id bigint not null default nextval({1})); create index on {0} (_batch_id)"
                )
                row_ids_text = sql.Literal(row_ids(entity).as_string(cursor))
                cursor.execute(sql.SQL(create).format(table_of(entity), row_ids_text))
            add_columns(cursor, entity, missing_columns(cursor, entity, entity.columns))


def missing_columns(cursor: Any, entity: Entity, columns: Iterable[str]) -> list[str]:
    """Return those of the columns that the entity's table doesn't have."""
    query = "select attname from pg_attribute where attrelid = to_regclass(%s) and attnum > 0 and not attisdropped"
    cursor.execute(query, [table_of(entity).as_string(cursor)])
    existing = {name for (name,) in cursor.fetchall()}
    return [column for column in columns if column not in existing]


def add_columns(cursor: Any, entity: Entity, columns: Iterable[str]) -> None:
    """Add text columns to the entity's table."""
    added = sql.SQL(", ").join(sql.SQL("add column {} text").format(sql.Identifier(column)) for column in columns)
    if added.seq:
        cursor.execute(sql.SQL("alter table {} {}").format(table_of(entity), added))


def move_row_ids(cursor: Any, entity: Entity, next_row_id: int) -> None:
    """Set the next row id, and so drop the ids that this or another session holds in advance."""
    cursor.execute("select setval(%s, %s, false)", [row_ids(entity).as_string(cursor), next_row_id])


def copy(cursor: Any, table: str, columns: list[str], blocks: Iterator[bytes], *, empty_is_null: bool = True) -> int:
    """COPY blocks of CSV into a raw table; return the number of rows. An error of the iterator is raised as it is.

    Without `empty_is_null`, empty fields are '', quoted or not: null then says that there was no such column.
    """
    statement = sql.SQL("copy {} ({}) from stdin (format csv, encoding 'UTF8'{})").format(
        sql.Identifier("raw", table),
        identifiers(columns),
        sql.SQL("") if empty_is_null else sql.SQL(", force_not_null ({})").format(identifiers(columns)),
    )
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


def table_of(entity: Entity) -> sql.Identifier:
    """Return the entity's raw table."""
    return sql.Identifier("raw", entity.table)


def row_ids(entity: Entity) -> sql.Identifier:
    """Return the sequence that numbers the table's rows."""
    return sql.Identifier("raw", f"{entity.table}_row_id")


def identifiers(names: Iterable[str]) -> sql.Composed:
    """Return a list of column names for a statement."""
    return sql.SQL(", ").join(map(sql.Identifier, names))
