"""The marts as an engine has built them: their types, as PostgreSQL names these, and their rows, as Arrow."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granary import engines
from granary.project import GranaryError, marts_schema
from granary.server.arrow import snapshot

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

HOW = {  # to build the marts with an engine
    "postgres": "bin/dbt --target postgres build",
    "duckdb": "bin/lake && bin/dbt --target duckdb build",
    "spark": "bin/lake && bin/dbt --target spark build --exclude-resource-type unit_test",
}
BUILDS = ("_builds", "_begun_builds")  # what raw has of builds, in each engine
COLUMNS_IN_POSTGRES = """
    select
        column_name,
        case data_type
            when 'numeric' then format('numeric(%s,%s)', numeric_precision, numeric_scale)
            when 'character varying' then 'text'
            else data_type
        end,
        col_description(format('%I.%I', table_schema, table_name)::regclass, ordinal_position)
    from information_schema.columns
    where table_schema = '{}' and table_name = '{}'
    order by ordinal_position
"""
COLUMNS_IN_DUCKDB = """
    select
        column_name,
        case data_type
            when 'VARCHAR' then 'text'
            when 'TIMESTAMP' then 'timestamp without time zone'
            else replace(lower(data_type), 'decimal', 'numeric')
        end,
        comment
    from duckdb_columns()
    where database_name = 'built' and schema_name = '{}' and table_name = '{}'
    order by column_index
"""


@dataclass
class Built:
    """The marts of an engine. `execute` and `stream` run a query there; the rows of the latter come as Arrow."""

    engine: str
    execute: Callable[[str], Any]
    stream: Callable[[str], pa.RecordBatchReader]
    query_of_columns: str
    database: str = ""

    def types(self, mart: str) -> dict[str, str]:
        """Return the columns of a mart with their types, as PostgreSQL names these; none if it isn't built."""
        return {name: kind for name, kind, _ in self.columns(mart)}

    def descriptions(self, mart: str) -> dict[str, str]:
        """Return the columns of a mart with their descriptions; Spark keeps none in its files."""
        return {name: comment or "" for name, _, comment in self.columns(mart)}

    def columns(self, mart: str) -> list[tuple[str, str, str | None]]:
        """Return the columns of a mart with type and description."""
        return self.execute(self.query_of_columns.format(marts_schema(), mart)).fetchall()

    def rows(self, mart: str, columns: Iterable[str]) -> pa.RecordBatchReader:
        """Return the rows of a mart, to be read before the next query. PostgreSQL's numerics are text in them."""
        return self.stream(f'select {", ".join(map(quoted, columns))} from {self.database}{marts_schema()}."{mart}"')


@contextlib.contextmanager
def marts_of(engine: str, marts: list[str]) -> Iterator[Built]:
    """Yield the marts of an engine, all as of one moment. Raises GranaryError if none of them is built."""
    with READERS[engine](marts) as built:
        if not any(map(built.types, marts)):
            missing = (
                f"there is no {marts_schema()}.{marts[0]}" if len(marts) == 1 else f"{marts_schema()} has no marts"
            )
            raise GranaryError(f"{missing} in {engine}: build with {HOW[engine]}")
        yield built


@contextlib.contextmanager
def built_with_postgres(marts: list[str]) -> Iterator[Built]:
    """Yield the marts of the warehouse."""
    with snapshot() as cursor:

        def execute(query: str) -> Any:
            cursor.execute(query)
            return cursor

        def stream(query: str) -> pa.RecordBatchReader:
            return execute(query).fetch_record_batch()

        yield Built("postgres", execute, stream, COLUMNS_IN_POSTGRES)


@contextlib.contextmanager
def built_with_duckdb(marts: list[str]) -> Iterator[Built]:
    """Yield the marts of DuckDB's file."""
    import duckdb

    path = Path(engines.duckdb_file())
    if not path.exists():
        raise GranaryError(f"{path} doesn't exist: build it with {HOW['duckdb']}")
    engines.wait_for_duckdb()
    with workspace() as connection:
        try:
            connection.execute(f"attach {in_quotes(path)} as built (read_only)")
        except duckdb.Error as error:
            raise GranaryError(f"can't read {path}: {error}") from None
        yield read_with_duckdb("duckdb", connection)


@contextlib.contextmanager
def built_with_spark(marts: list[str]) -> Iterator[Built]:
    """Yield the marts of Spark, which writes them as files of Parquet."""
    if not (engines.spark_folder() / "catalog").exists():
        raise GranaryError(f"{engines.spark_folder()} doesn't exist: build it with {HOW['spark']}")
    engines.check_spark()
    with tempfile.TemporaryDirectory() as folder, workspace() as connection:
        python = engines.VENV_OF_SPARK / "bin" / "python"
        tables = [*(f"{marts_schema()}.{mart}" for mart in marts), *(f"raw.{name}" for name in BUILDS)]
        command = [python, "-m", "granary.spark_marts", folder, *tables]
        if subprocess.run(command, env=os.environ | engines.settings("spark")).returncode:
            raise GranaryError("Spark could not write its marts: see its messages above")
        connection.execute(f"attach ':memory:' as built; create schema built.{marts_schema()}; create schema built.raw")
        for written in Path(folder).iterdir():
            schema, _, table = written.name.partition(".")
            files = f"read_parquet({in_quotes(written / '*.parquet')})"
            connection.execute(f'create view built.{schema}."{table}" as select * from {files}')
        yield read_with_duckdb("spark", connection)


READERS = {"postgres": built_with_postgres, "duckdb": built_with_duckdb, "spark": built_with_spark}


def read_with_duckdb(engine: str, connection: duckdb.DuckDBPyConnection) -> Built:
    """Return the marts of an engine that are in the database `built` of DuckDB."""

    def stream(query: str) -> pa.RecordBatchReader:
        return connection.sql(query).to_arrow_reader()

    return Built(engine, connection.execute, stream, COLUMNS_IN_DUCKDB, "built.")


@contextlib.contextmanager
def workspace() -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield an empty DuckDB, which keeps in a temporary folder what doesn't fit into memory."""
    import duckdb

    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(
            f"set TimeZone = 'UTC'; set memory_limit = '1GB'; set temp_directory = {in_quotes(Path(folder))}"
        )
        yield connection


def in_quotes(path: Path) -> str:
    """Return a path for a statement."""
    return "'" + str(path).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return a column name for a statement."""
    return f'"{name}"'
