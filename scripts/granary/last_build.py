"""What the last update that passed was made from, and what it left: enough to tell what has changed since.

The warehouse keeps it, in intermediate._last_build: it says of the warehouse's tables by what code they were built.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import importlib.metadata
import json
import os
import re
import time
from typing import Any

import psycopg2
import psycopg2.extensions
import yaml
from psycopg2 import sql

from granary.project import ROOT, schema_prefix

CODE = ("dbt", "scripts/granary")
GENERATED = re.compile(r"dbt/(target[^/]*|logs|dbt_packages|\.user\.yml)|.*/__pycache__")
SETTING = re.compile(rb"env_var\(\s*['\"](\w+)")
DISPLAY = re.compile("COLOR|LOG|PRINT|QUIET")  # variables of dbt that change what it shows
SECRET = "PGPASSWORD"
DBT = ("dbt-core", "dbt-adapters", "dbt-common", "dbt-postgres")
CREATE = """
    drop table if exists {0};
    create table {0} (
        state jsonb not null, manifest bytea not null, results bytea not null, is_uncertain boolean not null
    )
"""
# Which relation it is, its file (which a truncation changes), how many rows were ever written, and which transactions
# wrote its columns and, of a view, its query: any change shows.
TABLES = """
    select
        n.nspname || '.' || c.relname,
        array[
            c.oid,
            c.relfilenode,
            coalesce(s.n_tup_ins + s.n_tup_upd + s.n_tup_del, 0),
            (select sum(xmin::text::bigint) from pg_attribute where attrelid = c.oid),
            (select sum(xmin::text::bigint) from pg_rewrite where ev_class = c.oid)
        ]::bigint[]
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    left join pg_stat_all_tables as s on c.oid = s.relid
    where n.nspname = any(%s) and c.relkind in ('r', 'v', 'm', 'p') and c.relname <> '_last_build'
"""
# Loads only insert, also those that were undone.
LANDING_TABLES = """
    select c.relname, array[c.oid, c.relfilenode, coalesce(s.n_tup_upd + s.n_tup_del, 0)]::bigint[]
    from pg_class as c
    inner join pg_namespace as n on c.relnamespace = n.oid
    left join pg_stat_all_tables as s on c.oid = s.relid
    where n.nspname = 'raw' and c.relkind = 'r' and not starts_with(c.relname, '_')
"""
LEDGER = """
    with ledger as (
        select batch_id, concat_ws('|', batch_id, finished_at, status, replaced_by_batch_id) as batch
        from raw._batches
        where batch_id <= coalesce(%(newest_batch)s, batch_id)
    )

    select
        max(batch_id),
        md5(string_agg(batch, ',' order by batch_id)),
        concat_ws(
            '|',
            (select string_agg(batch_id || '|' || accepted_at, ',' order by batch_id) from raw._accepted_batches),
            (select last_value from raw._last_removed_batch)
        ),
        (select md5(string_agg(to_json(_brands)::text, ',' order by feed, entity, kind, place)) from raw._brands)
    from ledger
"""
NEW_BATCHES = """
    select feed, entity, count(*)
    from raw._batches
    where batch_id > coalesce(%s, 0)
    group by feed, entity
    order by feed, entity
"""


@dataclasses.dataclass
class State:
    """The code, the settings, the batches and the tables of a build."""

    files: dict[str, str]  # hashes of the code, by path below the project's root
    settings: dict[str, str]  # versions of dbt, and hashes of environment variables that it reads
    variables: dict[str, Any]  # of dbt_project.yml
    newest_batch: int | None
    batches: str | None  # a hash of the batches up to the newest one
    decisions: str  # which batches were accepted or removed
    brands: str | None  # a hash of the places in which brands were found
    landing: dict[str, list[int]]
    tables: dict[str, list[int]]
    schemas: list[str]
    summary: str = ""  # what was built and tested, in words
    finished_at: float = 0.0


def table() -> sql.Identifier:
    """Return the table of the state."""
    return sql.Identifier(f"{schema_prefix()}intermediate", "_last_build")


def read(connection: psycopg2.extensions.connection) -> State | None:
    """Return what is known of the last build that passed; None if nothing is."""
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("select state, manifest, results, is_uncertain from {} limit 0").format(table()))
            cursor.execute(sql.SQL("select state from {}").format(table()))
            return State(**cursor.fetchone()[0])
    except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn, TypeError):  # another version's, or none
        return None


def artifacts(connection: psycopg2.extensions.connection) -> tuple[bytes, bytes]:
    """Return dbt's manifest and results of the last build that passed, as JSON."""
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("select manifest, results from {}").format(table()))
        manifest, results = map(gzip.decompress, cursor.fetchone())
        return manifest, results


def write(connection: psycopg2.extensions.connection, state: State, manifest: bytes, results: bytes) -> None:
    """Keep the state of a build that has passed, with dbt's artifacts."""
    values = [json.dumps(dataclasses.asdict(state)), *(gzip.compress(each, 1) for each in (manifest, results)), False]
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL(CREATE).format(table()))
        cursor.execute(sql.SQL("insert into {} values (%s, %s, %s, %s)").format(table()), values)


def note_other_code(connection: psycopg2.extensions.connection) -> None:
    """Note that dbt is about to write tables with other code than the last build's, if it is."""
    last = read(connection)
    if last and (last.files, last.settings, last.variables) != code():
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("update {} set is_uncertain = true where not is_uncertain").format(table()))


def is_uncertain(connection: psycopg2.extensions.connection) -> bool:
    """Return whether tables may have been written with other code than the last build's, which nobody knows."""
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("select is_uncertain from {}").format(table()))
        return cursor.fetchone()[0]


def code() -> tuple[dict[str, str], dict[str, str], dict[str, Any]]:
    """Return the hash of each file that what is built depends on, by its path; settings, by name; dbt's variables.

    Settings are the versions of dbt, and the hashes of the variables that the project or dbt reads, but of no password.
    """
    hashes, named = {}, {name for name in os.environ if name.startswith("DBT_") and not DISPLAY.search(name)}
    packages = ROOT / "dbt" / os.environ["DBT_PACKAGES_INSTALL_PATH"]
    for folder in (*(ROOT / name for name in CODE), packages):
        for parent, folders, names in os.walk(folder, followlinks=True):  # as dbt does
            below = os.path.relpath(parent, ROOT)
            folders[:] = [name for name in folders if not GENERATED.fullmatch(f"{below}/{name}")]
            for path in (f"{below}/{name}" for name in names if not GENERATED.fullmatch(f"{below}/{name}")):
                with contextlib.suppress(FileNotFoundError):  # a link that leads nowhere, such as an editor's lock
                    content = (ROOT / path).read_bytes()
                    hashes[path] = hashlib.sha256(content).hexdigest()
                    named |= {name.decode() for name in SETTING.findall(content)}
    values = {name: os.environ.get(name, "") for name in named - {SECRET}}
    settings = {name: hashlib.sha256(value.encode()).hexdigest() for name, value in values.items()}
    declared = yaml.safe_load((ROOT / "dbt" / "dbt_project.yml").read_text("utf-8")).get("vars") or {}
    return hashes, settings | {name: importlib.metadata.version(name) for name in DBT}, declared


def now(connection: psycopg2.extensions.connection, schemas: list[str], newest_batch: int | None = None) -> State:
    """Return the state of the code and of the warehouse: of its batches up to one, or of all.

    Raises psycopg2.errors.UndefinedTable if there is no ledger.
    """
    files, settings, variables = code()
    with connection, connection.cursor() as cursor:
        cursor.execute(LEDGER, {"newest_batch": newest_batch})
        ledger = cursor.fetchone()
        cursor.execute(LANDING_TABLES)
        landing = dict(cursor.fetchall())
        cursor.execute(TABLES, [schemas])
        return State(files, settings, variables, *ledger, landing, dict(cursor.fetchall()), schemas)


def batches_after(connection: psycopg2.extensions.connection, batch: int | None) -> list[tuple[str, str, int]]:
    """Return the feeds and entities that have newer batches, with their number."""
    with connection, connection.cursor() as cursor:
        cursor.execute(NEW_BATCHES, [batch])
        return cursor.fetchall()


def wait_for_statistics(connection: psycopg2.extensions.connection) -> None:
    """Wait until dbt's sessions have ended: they report how many rows they wrote when they do."""
    for _ in range(100):
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "select from pg_stat_activity where application_name = 'dbt' and datname = current_database()"
            )
            if not cursor.rowcount:
                return
        time.sleep(0.05)
