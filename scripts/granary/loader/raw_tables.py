"""The raw schema as the loader uses it: transactions, the ledger of batches, tables, columns and row ids.

Nothing here opens a landing file. Identifiers come from folder names and file headers, so each of them is quoted
through psycopg2.sql.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras
from psycopg2 import sql

from granary import brands
from granary.declared import Entity
from granary.loader.csv_records import CSV, Dialect
from granary.loader.json_records import MOST_KEYS
from granary.loader.records import BLOCK, Problem
from granary.project import GranaryError
from granary.server.connection import connect
from granary.server.lock import take_lock
from granary.text import MOST_COLUMNS

ARRIVALS = "_arrivals"  # exists only while a file of a brand is loaded
PROVENANCE = 2  # columns that each landing table begins with
RAW_SQL = Path(__file__).resolve().parent / "raw.sql"
SESSION_NAME = "granary: load"


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
    brand: str | None = None  # the rest is known only of the batches of brands
    columns: str | None = None
    missing_columns: str | None = None
    extra_columns: str | None = None
    extra_values: int | None = None


class Place(NamedTuple):
    """Where a brand delivers to a landing table: a folder or a schema. With an error, nothing of it is loaded."""

    feed: str
    entity: str
    brand: str
    kind: str  # folder or schema
    name: str
    error: str | None = None


class Known(NamedTuple):
    """The batch in use that had the bytes of a file when it had this signature, if that is known."""

    batch: Batch
    signature: str | None = None


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


@contextlib.contextmanager
def undone(cursor: Any) -> Iterator[None]:
    """Undo what happens in the block, and give back the row ids that it takes, which no rollback does."""
    cursor.execute("savepoint before_trial")
    cursor.execute("select last_value + is_called::int from raw._row_ids")
    ((next_row_id,),) = cursor.fetchall()
    try:
        yield
    finally:
        cursor.execute("rollback to savepoint before_trial")
        move_row_ids(cursor, next_row_id)


# -- The ledger --------------------------------------------------------------------------------------------------------


def open_batch(cursor: Any, entity: Entity, path: str, size: int | None, brand: str | None = None) -> Batch:
    """Return the next batch, whose id the database gives to every row that is copied in this transaction."""
    following = """
        select
            greatest((select max(batch_id) from raw._batches), removed.last_value) + 1 as batch_id,
            row_ids.last_value + row_ids.is_called::int as first_row_id,
            clock_timestamp() as started_at
        from raw._last_removed_batch as removed, raw._row_ids as row_ids
    """
    cursor.execute(f"""
        select batch_id, first_row_id, started_at, set_config('granary.batch_id', batch_id::text, true)
        from ({following}) as following
    """)
    batch_id, first_row_id, started_at, _ = cursor.fetchone()
    return Batch(batch_id, entity.feed, entity.name, path, size, first_row_id, started_at, brand=brand)


def loaded_batches(cursor: Any) -> dict[str, Batch]:
    """Return the batches in use by the path of their file."""
    return {batch.path: batch for batch in select_batches(cursor, "true", [])}


def known_files(cursor: Any, tables: Mapping[str, tuple[str, str]]) -> dict[str, Known]:
    """Return what the ledger knows of files by their paths, given feed and entity of each.

    What another feed has loaded from a path is not known: a folder may have become a brand's.
    """
    paths = list(tables)
    condition = "(path = any(%s) or batch_id in (select batch_id from raw._files where path = any(%s)))"
    batches = {batch.batch_id: batch for batch in select_batches(cursor, condition, [paths, paths])}
    cursor.execute("select path, batch_id, signature from raw._files where path = any(%s)", [paths])
    # What was replaced is not in use.
    signed = [(path, batches[number], signature) for path, number, signature in cursor if number in batches]
    found = [*((batch.path, batch, None) for batch in batches.values()), *signed]
    return {
        path: Known(batch, signature)
        for path, batch, signature in found
        if tables.get(path) == (batch.feed, batch.entity)
    }


def record_files(cursor: Any, files: Iterable[tuple[str, int, str]]) -> None:
    """Write the signatures of known files: path, batch and signature of each. The batch may be gone by now."""
    insert = """
        insert into raw._files (path, batch_id, signature)
        select path, batch_id, signature
        from (values %s) as files (path, batch_id, signature)
        where exists (select from raw._batches where _batches.batch_id = files.batch_id and status = 'loaded')
        on conflict (path) do update set batch_id = excluded.batch_id, signature = excluded.signature
    """
    psycopg2.extras.execute_values(cursor, insert, list(files))


def has_candidates(cursor: Any, batch: Batch) -> bool:
    """Return whether a batch may repeat or replace one in use of its entity: one of its path, or of its size.

    So may a file that has the size of one that was rewritten since.

    What another brand has delivered is not repeated: two brands may well deliver the same bytes.
    """
    of_entity = "select from raw._batches where status = 'loaded' and feed = %s and entity = %s"
    of_entity += " and brand is not distinct from %s"
    values = [batch.feed, batch.entity, batch.brand]
    cursor.execute(
        f"select exists ({of_entity} and path = %s) or exists ({of_entity} and bytes = %s)"
        " or exists (select from raw._forgotten_files where bytes_before = %s)",
        [*values, batch.path, *values, batch.bytes, batch.bytes],
    )
    return cursor.fetchone()[0]


def candidates(cursor: Any, batch: Batch, sha256: str) -> list[Batch]:
    """Return the batches of its entity that a batch with these bytes repeats or replaces: that of its path first."""
    condition = (
        "feed = %s and entity = %s and brand is not distinct from %s and (path = %s or sha256 = %s)"
        " order by path = %s desc, batch_id"
    )
    values = [batch.feed, batch.entity, batch.brand, batch.path, sha256, batch.path]
    return select_batches(cursor, condition, values)


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


def record_failure(
    cursor: Any, entity: Entity, path: str, size: int | None, error: str, brand: str | None = None
) -> None:
    """Write into the ledger why a file failed, unless its latest entry says the same."""
    cursor.execute(
        "select status, error from raw._batches where path = %s and feed = %s and entity = %s"
        " order by batch_id desc limit 1",
        [path, entity.feed, entity.name],
    )
    if cursor.fetchone() != ("failed", error):
        batch = open_batch(cursor, entity, path, size, brand)
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


def record_places(
    cursor: Any, feeds: Collection[str], places: Collection[Place], everywhere: Collection[Place]
) -> None:
    """Write what was seen of the places of feeds' brands, and which are gone, as they are not everywhere any more."""
    psycopg2.extras.execute_values(
        cursor,
        """
        insert into raw._brands (feed, entity, brand, kind, place, error)
        values %s
        on conflict (feed, entity, kind, place) do update set error = excluded.error, gone_at = null
        where _brands.gone_at is not null or _brands.error is distinct from excluded.error
        """,
        list(places),
    )
    found = [f"{place.entity} {place.kind} {place.name}" for place in everywhere]
    cursor.execute(
        "update raw._brands set gone_at = clock_timestamp()"
        " where gone_at is null and feed = any(%s) and concat_ws(' ', entity, kind, place) <> all(%s)",
        [list(feeds), found],
    )


# -- Tables ------------------------------------------------------------------------------------------------------------


def prepare(cursor: Any, entities: Iterable[Entity]) -> None:
    """Create the ledger and the tables of the entities, so that models build even if a feed has no files."""
    cursor.execute(RAW_SQL.read_text("utf-8"))
    for entity in entities:
        execute(cursor, "create table if not exists {} (like raw._provenance including all)", raw(entity.table))
        add_columns(cursor, entity, [*entity.columns, *([brands.EXTRA] if entity.brands else [])])


def add_columns(cursor: Any, entity: Entity, columns: Iterable[str], file: str = "") -> tuple[str, ...]:
    """Add to the entity's table those of the columns, as text, that it doesn't have; return them."""
    query = "select attname, attisdropped from pg_attribute where attrelid = %s::regclass and attnum > 0"
    cursor.execute(query, [raw(entity.table).as_string(cursor)])
    taken = dict(cursor.fetchall())  # dropped ones count, too
    new_columns = tuple(column for column in columns if taken.get(column, True))
    if new_columns and (count := len(taken) + len(new_columns)) > MOST_COLUMNS:
        if entity.table == ARRIVALS:
            own, most = len(new_columns) + len(taken) - PROVENANCE, MOST_COLUMNS - PROVENANCE
            raise GranaryError(
                f"{file}: the file has {own:,} columns, and can have {most:,}: leave out columns that no model needs"
            )
        raise GranaryError(
            f"{file}: raw.{entity.table} would have {count:,} columns, {len(new_columns):,} of them new, and a table"
            f" can have {MOST_COLUMNS:,}: leave out columns that no model needs"
        )
    for column in new_columns:
        execute(cursor, "alter table {} add {} text", raw(entity.table), sql.Identifier(column))
    return new_columns


def create_arrivals(cursor: Any, entity: Entity) -> Entity:
    """Create a table for the rows of one file of a brand, with whatever columns it has; return it as the entity's."""
    execute(cursor, "create unlogged table {} (like raw._provenance including defaults)", raw(ARRIVALS))
    return entity._replace(table=ARRIVALS)


def take_in_arrivals(cursor: Any, entity: Entity, batch: Batch) -> Batch:
    """Move a brand's rows to the entity's table, which has its declared columns only, and drop the table of arrivals.

    A row's values of other columns become one JSON object. Return the batch with what its columns are.
    """
    query = "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 order by attnum"
    cursor.execute(query, [raw(ARRIVALS).as_string(cursor)])
    provenance, columns = ["_batch_id", "_row_id"], [name for (name,) in cursor.fetchall()][2:]
    shared = [column for column in columns if column in entity.columns]
    extra = [column for column in columns if column not in entity.columns]
    values, extra_values = sql.SQL("null"), 0
    if extra:
        each = [sql.Identifier(column) for column in extra]
        count = sql.SQL(" + ").join(sql.SQL("count(nullif({}, ''))").format(column) for column in each)
        values = sql.SQL("nullif(json_strip_nulls(json_object(array[{}]::text[], array[{}]))::text, '{{}}')").format(
            sql.SQL(", ").join(map(sql.Literal, extra)), sql.SQL(", ").join(each)
        )
        execute(cursor, "select {} from {}", count, raw(ARRIVALS))
        (extra_values,) = cursor.fetchone()
    kept = identifiers([*provenance, *shared])
    into = identifiers([*provenance, *shared, brands.EXTRA])
    execute(cursor, "insert into {} ({}) select {}, {} from {}", raw(entity.table), into, kept, values, raw(ARRIVALS))
    execute(cursor, "drop table {}", raw(ARRIVALS))
    return dataclasses.replace(
        batch,
        columns=", ".join(columns),
        missing_columns=", ".join(column for column in entity.columns if column not in columns),
        extra_columns=", ".join(extra),
        extra_values=extra_values,
    )


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


def copy(
    cursor: Any,
    table: str,
    columns: list[str],
    pieces: Iterator[bytes],
    not_null: Iterable[str] = (),
    dialect: Dialect = CSV,
) -> int:
    """COPY pieces of CSV into a raw table; return the number of rows. An error of the iterator is raised as it is.

    Empty fields are null, but '' in the columns that are `not_null`.
    """
    statement = sql.SQL("copy {} ({}) from stdin (format csv, encoding 'UTF8', delimiter {}, quote {}{})").format(
        raw(table),
        identifiers(columns),
        sql.Literal(dialect.delimiter.decode()),
        sql.Literal(dialect.quote.decode()),
        sql.SQL(", force_not_null ({})").format(identifiers(not_null)) if not_null else sql.SQL(""),
    )
    errors = []

    def read(_size: int) -> bytes:
        block, size = [], 0
        try:
            for piece in pieces:
                block.append(piece)
                if (size := size + len(piece)) >= BLOCK:
                    break
        except BaseException as error:  # psycopg2 would report it as the server's; Ctrl-C arrives here too
            errors.append(error)
            return b""
        return b"".join(block)

    try:
        cursor.copy_expert(statement, SimpleNamespace(read=read))
    finally:
        if errors:
            raise errors[0]
    return cursor.rowcount


def write_rejected(cursor: Any, batch: Batch, rejected: Iterable[tuple[int, str, Problem]]) -> None:
    """Write rejected lines: number, text and problem of each."""
    rows = [(batch.batch_id, number, text, *problem) for number, text, problem in rejected]
    columns = "batch_id, line_number, line, reason, explanation"
    psycopg2.extras.execute_values(cursor, f"insert into raw._rejected_lines ({columns}) values %s", rows)


def judged(cursor: Any, lines: list[str]) -> Iterator[tuple[list[str], list[str | None]] | Problem]:
    """Yield of each line of JSON the keys of its object and their values as text, or why it can't be a row."""
    cursor.execute(
        """
        select line_reason, raw._explanation(line, line_reason), key_count, keys, contents
        from unnest(cast(%s as text[])) with ordinality as lines (line, number)
        cross join lateral (select raw._reason(line)) as judged (line_reason)
        cross join lateral (select case when line_reason is null then cast(line as json) end) as parsed (object)
        cross join lateral (select count(*) from json_object_keys(object)) as counted (key_count)
        cross join lateral (
            select array_agg(key), array_agg(value) from json_each_text(case when key_count <= %s then object end)
        ) as fields (keys, contents)
        order by number
        """,
        [lines, MOST_KEYS],
    )
    for reason, explanation, count, keys, contents in cursor.fetchall():
        if reason:
            yield Problem(reason, explanation)
        elif count > MOST_KEYS:
            yield Problem("too_many_keys", f"the object has {count} keys, and can have {MOST_KEYS:,}")
        else:
            yield keys or [], contents or []


def first_rejected(cursor: Any, batch: Batch) -> str:
    """Return which line of a batch was rejected first, and why."""
    query = "select line_number, explanation from raw._rejected_lines where batch_id = %s order by line_number limit 1"
    cursor.execute(query, [batch.batch_id])
    return "line {}: {}".format(*cursor.fetchone())
