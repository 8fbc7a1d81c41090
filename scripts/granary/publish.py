"""Publish finished marts to ClickHouse, which answers questions about many rows sooner than PostgreSQL.

usage: bin/publish clickhouse [--dry-run] [--force] [MART ...]

Each mart becomes a table of the database `marts`, sorted by its grain. The marts of the engine in use are written to
the lake as Parquet, marts/<mart>/all.parquet, and compared with what was published before, row by row. What differs
goes into a new table, which is compared again; when all marts are ready, each new table takes the place of the one
before in one step. A reader sees a mart as it was or as it is, whenever a publication is killed.

Where a mart's YAML names a date (meta: {clickhouse: {month_of: close_of_date}}), only months that differ are written.

Nothing is published while a build is running, or after one that failed or was killed, until all was built again.

The server is GRANARY_CLICKHOUSE, such as http://granary:secret@127.0.0.1:8123; chdb:///some/folder is a ClickHouse
within this process (requirements/chdb.txt).
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
import time
import zlib
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from granary import apart, declared, diff, engines, last_build, project
from granary.built import HOW, Built, marts_of, quoted, workspace
from granary.declared import Mart
from granary.lake import Lake, only_one, writing
from granary.project import ROOT, GranaryError, check_packages, marts_schema, run_main
from granary.server.connection import connect
from granary.text import counted, printable

if TYPE_CHECKING:
    import duckdb
    import pyarrow.dataset
    from clickhouse_connect.driver.client import Client

TYPES = {  # those of PostgreSQL, exactly
    "bigint": "Int64",
    "boolean": "Bool",
    "date": "Date32",
    "double precision": "Float64",
    "integer": "Int32",
    "smallint": "Int16",
    "text": "String",
    "timestamp with time zone": "DateTime64(6, 'UTC')",
    "timestamp without time zone": "DateTime64(6, 'UTC')",
}
FEW = 10_000  # different values, up to which a dictionary is smaller and faster than the texts themselves
NEW = "__new_"  # ends, with the number of the warehouse, the name of a table that waits to take another one's place
FILE = "all.parquet"
ROWS = 500_000  # sent at once
# The newest build that failed, or has begun and not ended, unless one of everything has passed since, with its tests.
UNMENDED = """
    with

    builds as (
        select * from {database}raw._builds
        where schema_prefix = '{prefix}'
    ),

    unmended as (
        select started_at, tests_failed, errors from builds
        where status = 'failed'
        union all
        select started_at, null, null from {database}raw._begun_builds as begun
        where begun.schema_prefix = '{prefix}' and begun.build_id not in (select builds.build_id from builds)
    ),

    mended as (
        select coalesce(max(started_at), timestamp with time zone '1970-01-01 00:00:00+00') as started_at from builds
        where status = 'passed' and command = 'build' and selection is null and tests_passed > 0
    )

    select
        cast(unmended.started_at at time zone 'UTC' as varchar(19)) as started_at,
        cast(unmended.tests_failed as bigint) as tests_failed,
        cast(unmended.errors as bigint) as errors
    from unmended
    inner join mended
        on unmended.started_at > mended.started_at
    where extract(epoch from unmended.started_at) > {updated_at}
    order by 1 desc
    limit 1
"""
COLUMNS = """
    select name, type, '', comment from system.columns
    where database = '{}' and table = '{}'
    order by position
"""
KEYS = """
    select partition_key, sorting_key, engine, comment from system.tables
    where database = '{}' and name = '{}'
"""
PARTITIONS = """
    select distinct partition_id from system.parts
    where active and database = '{}' and table = '{}'
    order by 1
"""


def main() -> None:
    """Publish."""
    parser = ArgumentParser("bin/publish", description=__doc__, formatter_class=RawDescriptionHelpFormatter, usage=" ")
    parser.add_argument("server", choices=["clickhouse"], metavar="clickhouse", help="the only one there is so far")
    parser.add_argument("--dry-run", action="store_true", help="only write to the lake, and print the tables")
    parser.add_argument("--force", action="store_true", help="even after a build that failed or was killed")
    parser.add_argument("marts", nargs="*", metavar="MART", help="what to publish (default: all marts)")
    options = parser.parse_intermixed_args()
    project.load_env()
    check_packages("engines", None, "adbc_driver_postgresql", "duckdb", "fsspec", "pyarrow")
    check_packages("clickhouse", None, "clickhouse_connect")
    started, chosen = time.monotonic(), diff.choose(options.marts)
    address = os.environ.get("GRANARY_CLICKHOUSE") or ""
    with only_one("clickhouse"), workspace() as connection:
        tables = export(chosen, options.force, connection)
        if options.dry_run:
            print("\n\n".join(f"{table.definition(table.mart.name)};" for table in tables))
            return
        with clickhouse(address) as client:
            publish(client, connection, tables)
    print(f"{counted(len(tables), 'mart')} published in {time.monotonic() - started:.1f} s, each equal to its source")


@dataclass
class Table:
    """A mart as ClickHouse keeps it: at first under the name `new`.

    `types` are PostgreSQL's; `few` are the columns with few different texts.
    """

    mart: Mart
    types: dict[str, str]
    descriptions: dict[str, str]
    few: set[str]
    new: str
    stored: pyarrow.dataset.Dataset

    @property
    def required(self) -> set[str]:
        """Return the columns that are never null."""
        return {*self.mart.grain, *(column.name for column in self.mart.columns if column.is_required)}

    @property
    def month_of(self) -> str | None:
        """Return the column by whose months the table is divided, if it is."""
        where, given = f"{self.mart.path}: mart {self.mart.name}", self.mart.meta.get("clickhouse") or {}
        if not isinstance(given, dict) or given.keys() - {"month_of"}:
            raise GranaryError(f"{where}: `clickhouse: {given}` in its meta: it takes {{month_of: a_date}}, no more")
        name = given.get("month_of")
        is_date = str(self.types.get(str(name))).startswith(("date", "timestamp"))
        if name and not (is_date and name in self.required):
            raise GranaryError(
                f"{where}: `month_of: {name}` needs a date or a timestamp that is never null: one of the grain, or with"
                " a constraint not_null"
            )
        return name

    @property
    def partition(self) -> str:
        """Return what gives a row's partition in DuckDB, as ClickHouse names it."""
        date = quoted(self.month_of) if self.month_of else ""
        return f"cast(100 * year({date}) + month({date}) as varchar)" if date else "'all'"

    def definition(self, name: str) -> str:
        """Return the statement that creates the table under a name."""
        columns = ",\n".join(
            f"    {quoted(column)} {self.type_of(column)} comment {literal(' '.join(description.split()))}"
            for column, description in self.descriptions.items()
        )
        partition = f"partition by toYYYYMM({quoted(self.month_of)})\n" if self.month_of else ""
        order = ", ".join(map(quoted, self.mart.grain))
        return (
            f"create table {place(name)} (\n{columns}\n)\nengine = MergeTree\n{partition}order by ({order})\n"
            f"comment {literal(self.mart.description)}"
        )

    def type_of(self, column: str) -> str:
        """Return the type of a column."""
        given = self.types[column]
        exact = re.fullmatch(r"numeric\((\d+),(\d+)\)", given)
        if not exact and given not in TYPES:
            raise GranaryError(f"{self.mart.path}: mart {self.mart.name}: can't publish {column}, of type {given}")
        kind = f"Decimal({exact[1]}, {exact[2]})" if exact else TYPES[given]
        kind = kind if column in self.required else f"Nullable({kind})"
        return f"LowCardinality({kind})" if column in self.few else kind


def export(marts: list[Mart], force: bool, connection: duckdb.DuckDBPyConnection) -> list[Table]:
    """Write marts of the engine in use to the lake, all as of one moment; return them as ClickHouse will keep them.

    Raises GranaryError if one isn't built, or if the last build failed and that isn't to be published by force.
    """
    names = [mart.name for mart in marts]
    with writing(engines.lake(), marts_schema()) as lake, marts_of(engines.chosen(), names) as built:
        if not force:
            check_builds(built)
        ending = f"{NEW}{number_of_warehouse():08x}"
        return [export_mart(lake, built, mart, ending, connection) for mart in marts]


def check_builds(built: Built) -> None:
    """Raise GranaryError if a build failed, was killed or is running, and nothing has made up for it since."""
    update = None
    if built.engine == "postgres":  # a later bin/update that passed has built and tested again what failed before
        with contextlib.closing(connect()) as connection:
            update = last_build.read(connection)
    updated_at = update.finished_at if update else 0
    query = UNMENDED.format(database=built.database, prefix=project.schema_prefix(), updated_at=updated_at)
    try:
        unmended = built.execute(query).fetchall()
    except Exception as error:  # each engine has its own
        if "_begun_builds" not in str(error):
            raise
        way_out = f"run bin/ingest, then {HOW[built.engine]}"
        raise GranaryError(f"{built.engine} was built by an earlier version of the project: {way_out}") from None
    for started_at, failed, errors in unmended:
        when, way_out = f"the build of {started_at} in {built.engine}", "or publish with --force"
        if failed is None:
            raise GranaryError(f"{when} is running, or was killed: wait, or build again, {way_out}")
        what = f"{counted(failed, 'test')} failed, {counted(errors, 'error')}"
        raise GranaryError(f"{when} failed ({what}): build all again without that, {way_out}")


def number_of_warehouse() -> int:
    """Return a number that tells this warehouse from others that publish to the same server."""
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select concat(system_identifier, current_database(), %s) from pg_control_system()", [ROOT.as_posix()]
        )
        return zlib.crc32(cursor.fetchone()[0].encode())


def export_mart(lake: Lake, built: Built, mart: Mart, ending: str, connection: duckdb.DuckDBPyConnection) -> Table:
    """Write a mart to the lake."""
    types = built.types(mart.name)
    if not types:
        raise GranaryError(f"{mart.name} isn't built in {built.engine}: build it, or name the marts to publish")
    for left in lake.names(mart.name) - {FILE}:  # by an export that was killed
        lake.delete(mart.name, left)
    typed = ", ".join(f"cast({quoted(name)} as {kind}) as {quoted(name)}" for name, kind in types.items())
    connection.register("arriving", built.rows(mart.name, types))
    lake.write(mart.name, FILE, connection.sql(f"select {typed} from arriving").to_arrow_reader())
    connection.unregister("arriving")
    stored = lake.dataset(mart.name, FILE)
    texts = [name for name, kind in types.items() if kind == "text"]
    connection.register("stored", stored)
    counts = ["count(*)", *(f"approx_count_distinct({quoted(name)})" for name in texts)]
    ((rows, *distinct),) = connection.execute(f"select {', '.join(counts)} from stored").fetchall()
    connection.unregister("stored")
    few = {name for name, count in zip(texts, distinct, strict=True) if count <= FEW and 2 * count <= rows}
    return Table(mart, types, built.descriptions(mart.name), few, mart.name + ending, stored)


@contextlib.contextmanager
def clickhouse(address: str) -> Iterator[Client]:
    """Yield a client of ClickHouse. Raises GranaryError for what the server refuses, and if there is none."""
    import clickhouse_connect
    from clickhouse_connect.driver.exceptions import ClickHouseError

    try:
        parts = urlsplit(address)
        is_valid = parts.port is None or parts.hostname
    except ValueError:  # whose message may have a part of the password
        is_valid = False
    is_server = is_valid and parts.scheme in ("http", "https") and parts.hostname
    if not is_server and not (is_valid and parts.scheme == "chdb" and not parts.netloc and len(parts.path) > 1):
        form = "http://user:password@host:8123, special characters of the password as %2F, or chdb:///a/folder"
        raise GranaryError(f"name a server: GRANARY_CLICKHOUSE={form} (docs/engines.md)")
    if parts.scheme == "chdb":
        check_packages("chdb", None, "chdb")
    logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it prints what it raises as well
    settings = {"max_partitions_per_insert_block": 0}  # of a mart with many months
    try:
        with clickhouse_connect.get_client(interface=parts.scheme, dsn=address, settings=settings) as client:
            yield client
    except ClickHouseError as error:
        said = str(error).splitlines()[0].partition(", Stack trace")[0]
        unreachable = re.search(r"\[Errno -?\d+\] ([^)'\"]+)", said)
        reason = f"can't connect: {unreachable[1]} (GRANARY_CLICKHOUSE)" if unreachable else said
        raise GranaryError(f"ClickHouse at {parts.hostname or parts.path}: {reason}") from None


def publish(client: Client, connection: duckdb.DuckDBPyConnection, tables: list[Table]) -> None:
    """Fill and compare a new table for each mart that differs, and then let all of them take their places."""
    client.command(f"create database if not exists {marts_schema()}")
    existing = tables_in(client)
    ending = tables[0].new.removeprefix(tables[0].mart.name)
    for name in existing:
        if name.endswith(ending):  # of a publication of this warehouse that was killed
            client.command(f"drop table {place(name)}")
    for table in [table for table in tables if prepare(client, connection, table)]:
        name, new = place(table.mart.name), place(table.new)
        if client.command(f"exists table {name}"):
            client.command(f"exchange tables {name} and {new}")
            client.command(f"drop table {new}")
        else:
            client.command(f"rename table {new} to {name}")
    if others := [name for name in existing if name not in declared.marts() and NEW not in name]:
        print(f"not marts, or no longer: {', '.join(others)} in the database {marts_schema()}: drop what nobody needs")


def tables_in(client: Client) -> list[str]:
    """Return the names of the published tables, and of all others in their database."""
    found = client.query(f"select name from system.tables where database = '{marts_schema()}' order by 1").result_rows
    return [name for (name,) in found]


def prepare(client: Client, connection: duckdb.DuckDBPyConnection, table: Table) -> bool:
    """Compare what is published of a mart; return whether it differs, and there is a new table to take its place."""
    import pyarrow as pa

    name, new = table.mart.name, table.new
    client.command(table.definition(new))
    described, published = describe(client, new), describe(client, name)
    is_alike = [row[:3] for row in described] == [row[:3] for row in published]
    apart.copy(connection, "ours", table.types, table.stored)
    fetch(client, connection, table, name if is_alike else new)
    rows, missing, added = apart.set_apart(connection)
    if described == published and not missing and not added:
        client.command(f"drop table {place(new)}")
        print(f"{name}: unchanged, {counted(rows, 'row')}", flush=True)
        return False
    differing = partitions(connection, table, "(from only_ours union all from only_theirs) as rows")
    parts = client.query(PARTITIONS.format(marts_schema(), name)).result_rows if is_alike else []
    for (partition,) in parts:
        if partition not in differing:  # its files are linked, not copied
            client.command(f"alter table {place(new)} attach partition id '{partition}' from {place(name)}")
    connection.execute(f"delete from ours where {table.partition} not in ({listed(differing)})")
    written = 0
    for batch in connection.sql("from ours").to_arrow_reader(ROWS):
        client.insert_arrow(place(new), pa.Table.from_batches([batch]))
        written += batch.num_rows
    check(client, connection, table, differing, rows)
    print(f"{name}: {counted(rows, 'row')}, {written:,} written", flush=True)
    return True


def check(client: Client, connection: duckdb.DuckDBPyConnection, table: Table, differing: list[str], rows: int) -> None:
    """Raise GranaryError unless the new table has as many rows as the mart, and those that were written as they are."""
    new = table.new
    fetch(client, connection, table, new, f"where _partition_id in ({listed(differing)})")
    _, missing, added = apart.set_apart(connection)
    if missing or added or client.command(f"select count() from {place(new)}") != rows:
        found = apart.differences(connection, table.mart.grain, [*table.types], ("the mart", "ClickHouse"))
        raise GranaryError(
            f"{table.mart.name} isn't in ClickHouse as it is in the mart, so nothing was published: "
            + printable("; ".join(found) or "rows of a month that had not changed are missing")
        )


def fetch(client: Client, connection: duckdb.DuckDBPyConnection, table: Table, name: str, condition: str = "") -> None:
    """Copy rows of a table of ClickHouse into the table theirs."""
    import pyarrow as pa

    query = f"select {', '.join(map(quoted, table.types))} from {place(name)} {condition}"
    with client.query_arrow_stream(query) as batches:
        for first in batches:
            rows = pa.RecordBatchReader.from_batches(first.schema, itertools.chain([first], batches))
            apart.copy(connection, "theirs", table.types, rows)
            return
    connection.execute("create or replace temporary table theirs as from ours limit 0")


def describe(client: Client, name: str) -> list[tuple]:
    """Return the columns and the keys of a table, with their descriptions last; nothing if there is no such table."""
    found = [client.query(query.format(marts_schema(), name)).result_rows for query in (COLUMNS, KEYS)]
    return [tuple(row) for rows in found for row in rows]


def partitions(connection: duckdb.DuckDBPyConnection, table: Table, rows: str) -> list[str]:
    """Return the partitions of some rows."""
    return [
        name for (name,) in connection.execute(f"select distinct {table.partition} from {rows} order by 1").fetchall()
    ]


def listed(names: list[str]) -> str:
    """Return texts as a list for a statement; it is never empty."""
    return ", ".join(map(literal, names)) or "''"


def place(name: str) -> str:
    """Return a table with its database for a statement of ClickHouse."""
    return f'{marts_schema()}."{name}"'


def literal(text: str) -> str:
    """Return a text for a statement of ClickHouse."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


if __name__ == "__main__":
    run_main(main)
