"""What feeds have in the database: find it, say it, drop it."""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extras import NamedTupleCursor

from granary.project import GranaryError, schema_prefix
from granary.server.connection import connect
from granary.server.lock import take_lock
from granary.text import counted

SQL = Path(__file__).with_suffix(".sql")
COPY = re.compile("copy_(.+)__(raw|staging|intermediate|marts)$")  # the schemas of bin/copy
# Ids of batches are never given twice: incremental models would take a new batch for one that they have taken in.
HIGHEST_BATCH = """
    select setval('raw._last_removed_batch', greatest(last_value, (select max(batch_id) from raw._batches)))
    from raw._last_removed_batch
"""


def cursor_in(stack: contextlib.ExitStack, required: bool) -> Any:
    """Return a cursor on the warehouse, or, unless it is required, None where the server can't be reached."""
    try:
        connection = stack.enter_context(contextlib.closing(connect(cursor_factory=NamedTupleCursor)))
    except GranaryError as error:
        if required:
            raise
        print(f"can't tell what the database holds: {error}\n", file=sys.stderr)
        return None
    return stack.enter_context(connection.cursor())


def has_ledger(cursor: Any) -> bool:
    """Return whether bin/ingest has created the ledger."""
    cursor.execute("select to_regclass('raw._batches') is not null")
    return cursor.fetchone()[0]


def feeds_in_database(cursor: Any) -> list[str]:
    """Return the feeds that have landing tables. No feed has `__` in its name, or `_` at its end (declared.py)."""
    cursor.execute(
        "select distinct split_part(relname, '__', 1) from pg_class"
        " inner join pg_attribute on attrelid = pg_class.oid and attname = '_row_id' and atthasdef"
        " where relnamespace = to_regnamespace('raw') and relname <> '_provenance'"
    )
    return [feed for (feed,) in cursor.fetchall()]


def loads(cursor: Any) -> dict[str, tuple[int, str]]:
    """Return by feed how many rows are loaded, and when the last of them were."""
    if not has_ledger(cursor):
        return {}
    cursor.execute(
        "select feed, sum(rows_loaded)::bigint, to_char(max(finished_at), 'YYYY-MM-DD HH24:MI') from raw._batches"
        " where status = 'loaded' group by feed"
    )
    return {feed: (rows, last) for feed, rows, last in cursor.fetchall()}


def data_of(cursor: Any, feeds: list[str], names: list[str]) -> list[Any]:
    """Return the raw tables of feeds, what was built from them, and the views that read either: see feed_data.sql.

    `names` are the models and seeds of the feeds, which are looked for in the schemas of the current prefix.
    """
    layers = [schema_prefix() + layer for layer in ("staging", "intermediate", "marts")]
    pattern = rf"^(stg|int)_({'|'.join(map(re.escape, feeds))})__"
    values = {"feeds": feeds, "layers": layers, "names": names, "pattern": pattern}
    cursor.execute(SQL.read_text("utf-8"), values)
    return cursor.fetchall()


def print_data(cursor: Any, feeds: list[str], names: list[str], to_drop: bool) -> bool:
    """Say what feeds have in the database, and return whether they have anything."""
    rows, batches = {}, 0
    if has_ledger(cursor):
        by_table = "select concat(feed, '__', entity), sum(rows_loaded)::bigint, count(*) from raw._batches"
        cursor.execute(f"{by_table} where feed = any(%s) group by 1", [feeds])
        for table, loaded, attempts in cursor.fetchall():
            rows[table] = f" ({counted(loaded, 'row')})"
            batches += attempts
    relations = data_of(cursor, feeds, names)
    own = [f"{each.schema}.{each.name}{rows.get(each.name, '')}" for each in relations if each.is_own]
    if not (batches or own):
        print("the database has nothing of them")
        return False
    print(f"{'to drop' if to_drop else 'stays'} in the database: {counted(batches, 'row')} of raw._batches, and")
    print(textwrap.indent(textwrap.fill(", ".join(own) or "no tables", 115), "  "))
    readers = [each for each in relations if not each.is_own]
    copies = sorted({match[1] for each in readers if (match := COPY.match(each.schema))})
    views = [f"{each.schema}.{each.name}" for each in readers if not COPY.match(each.schema)]
    if to_drop and views:
        print(f"and the views that read these (bin/dbt build makes its own again): {', '.join(views)}")
    if to_drop and copies:
        print(f"and such views in copies, which bin/copy refresh makes again: {', '.join(copies)}")
    return True


def drop(cursor: Any, feeds: list[str], names: list[str]) -> None:
    """Drop what feeds have in the database when no load or build is running, in the cursor's transaction."""
    take_lock(cursor.connection, f"removal of {', '.join(feeds)}")
    try:
        for each in data_of(cursor, feeds, names):
            name = sql.Identifier(each.schema, each.name)
            cursor.execute(sql.SQL(f"drop {each.kind} if exists {{}} cascade").format(name))
        if has_ledger(cursor):
            cursor.execute(HIGHEST_BATCH)
            for table in ("_rejected_lines", "_accepted_batches", "_replayed_values", "_batches"):
                own = "batch_id in (select batch_id from raw._batches where feed = any(%s))"
                cursor.execute(f"delete from raw.{table} where {own}", [feeds])
            cursor.execute("delete from raw._brands where feed = any(%s)", [feeds])
    except psycopg2.Error as error:
        raise GranaryError(f"the database refuses: {str(error).strip()}\nNothing was changed.") from None
