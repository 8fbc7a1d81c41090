"""Compare the marts that PostgreSQL and another engine have built: every row, as often as it is there.

usage: bin/diff [--to ENGINE] [MART ...]

Both have to be built from the same batches: bin/lake && bin/dbt --target duckdb build. Where a mart differs, the keys
of some rows are shown, with what differs. The exit code is 1 if anything does.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granary import declared, engines, project
from granary.declared import Mart
from granary.project import GranaryError, check_packages, marts_schema, run_main
from granary.server.arrow import snapshot
from granary.text import counted, printable

if TYPE_CHECKING:
    import duckdb

OWN = {"build_log", "table_log"}  # each engine tells of its own builds
DIGITS = "significant_digits"  # in the meta of a column: how many of them all engines compute alike
SHOWN = 5  # rows of a mart that differ
TYPES_IN_POSTGRES = """
    select
        column_name,
        case data_type
            when 'numeric' then format('numeric(%s,%s)', numeric_precision, numeric_scale)
            when 'character varying' then 'text'
            else data_type
        end
    from information_schema.columns
    where table_schema = '{}' and table_name = '{}'
    order by ordinal_position
"""
TYPES_IN_DUCKDB = """
    select
        column_name,
        case data_type
            when 'VARCHAR' then 'text'
            when 'TIMESTAMP' then 'timestamp without time zone'
            else replace(lower(data_type), 'decimal', 'numeric')
        end
    from duckdb_columns()
    where database_name = 'other' and schema_name = '{}' and table_name = '{}'
    order by column_index
"""


def main() -> int:
    """Compare, print a line for each mart and a summary; return an exit code."""
    parser = ArgumentParser("bin/diff", description=__doc__, formatter_class=RawDescriptionHelpFormatter, usage=" ")
    others = engines.ENGINES[1:]
    parser.add_argument("--to", metavar="ENGINE", default=others[0], choices=others, help=" or ".join(others))
    parser.add_argument("marts", nargs="*", metavar="MART", help="what to compare (default: all marts)")
    options = parser.parse_args()
    project.load_env()
    check_packages("engines", None, "adbc_driver_postgresql", "duckdb", "pyarrow")
    marts = {name: mart for name, mart in declared.marts().items() if mart.grain and name not in OWN}
    if unknown := sorted(set(options.marts) - marts.keys()):
        raise GranaryError(f"there is no mart {unknown[0]}: choose from {', '.join(marts)}")
    chosen = options.marts or [*marts]
    with snapshot() as cursor, BUILT[options.to](chosen) as other:
        differing = sum(not is_equal(cursor, other, marts[name], options.to) for name in chosen)
    print(f"{len(chosen) - differing} of {counted(len(chosen), 'mart')} equal in postgres and {options.to}")
    return int(differing > 0)


@contextlib.contextmanager
def built_with_duckdb(marts: list[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield DuckDB with its marts in the database `other`."""
    import duckdb

    path = Path(engines.duckdb_file())
    if not path.exists():
        raise GranaryError(f"{path} doesn't exist: build it with bin/lake && bin/dbt --target duckdb build")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        try:
            connection.execute(f"attach {in_quotes(path)} as other (read_only)")
        except duckdb.Error as error:
            raise GranaryError(f"can't read {path}: {error}") from None
        yield connection


@contextlib.contextmanager
def built_with_spark(marts: list[str]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield DuckDB with the marts of Spark in the database `other`: files of Parquet that Spark writes for it."""
    import duckdb

    if not (engines.spark_folder() / "catalog").exists():
        raise GranaryError(
            f"{engines.spark_folder()} doesn't exist: build it with bin/lake && bin/dbt --target spark build"
        )
    engines.check_spark()
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(f"set TimeZone = 'UTC'; attach ':memory:' as other; create schema other.{marts_schema()}")
        python = engines.VENV_OF_SPARK / "bin" / "python"
        command = [python, "-m", "granary.spark_marts", marts_schema(), folder, *marts]
        if subprocess.run(command, env=os.environ | engines.settings("spark")).returncode:
            raise GranaryError("Spark could not write its marts for the comparison: see its messages above")
        for mart in sorted(path.name for path in Path(folder).iterdir()):
            files = f"read_parquet({in_quotes(Path(folder, mart, '*.parquet'))})"
            connection.execute(f'create view other.{marts_schema()}."{mart}" as select * from {files}')
        yield connection


BUILT = {"duckdb": built_with_duckdb, "spark": built_with_spark}


def is_equal(cursor: Any, other: duckdb.DuckDBPyConnection, mart: Mart, engine: str) -> bool:
    """Compare a mart, and print what differs; return whether nothing does."""
    ours, theirs = types_of(cursor, TYPES_IN_POSTGRES, mart), types_of(other, TYPES_IN_DUCKDB, mart)
    if not ours or not theirs:
        print(f"{mart.name}: not built in {engine if ours else 'postgres'}")
        return False
    if ours != theirs:
        for name in dict.fromkeys([*ours, *theirs]):
            one, two = (types.get(name, "missing") for types in (ours, theirs))
            if one != two:
                print(f"{mart.name}.{name}: {one} in postgres, {two} in {engine}")
        return False
    table = f'{marts_schema()}."{mart.name}"'
    cursor.execute(f"select {', '.join(map(quoted, ours))} from {table}")
    other.register("arriving", cursor.fetch_record_batch())  # with numerics as text
    digits = {column.name: column.meta[DIGITS] for column in mart.columns if DIGITS in column.meta}
    typed = {name: f"cast({quoted(name)} as {kind})" for name, kind in ours.items()}
    typed |= {name: f"format('{{:.{count - 1}e}}', cast({quoted(name)} as double))" for name, count in digits.items()}
    values = ", ".join(f"{value} as {quoted(name)}" for name, value in typed.items())
    other.execute(f"create or replace temporary table ours as select {values} from arriving")
    other.unregister("arriving")
    other.execute(f"create or replace temporary view theirs as select {values} from other.{table}")
    for one, two in (("ours", "theirs"), ("theirs", "ours")):
        only = f"select * from {one} except all select * from {two}"
        other.execute(f"create or replace temporary table only_{one} as {only}")
    rows, missing, added = (
        other.execute(f"select count(*) from {table}").fetchall()[0][0]
        for table in ("ours", "only_ours", "only_theirs")
    )
    if not missing and not added:
        print(f"{mart.name}: equal, {counted(rows, 'row')}")
        return True
    print(f"{mart.name}: {missing:,} of {counted(rows, 'row')} only in postgres, {added:,} only in {engine}")
    for line in differences(other, mart, [*ours], engine):
        print(f"  {printable(line)}")
    return False


def types_of(cursor: Any, query: str, mart: Mart) -> dict[str, str]:
    """Return the columns of a mart with their types, as PostgreSQL names these."""
    cursor.execute(query.format(marts_schema(), mart.name))
    return dict(cursor.fetchall())


def differences(other: duckdb.DuckDBPyConnection, mart: Mart, columns: list[str], engine: str) -> Iterator[str]:
    """Yield the keys of some rows that differ, each with the values that do."""
    pairs = ", ".join(f"one.{quoted(name)}, two.{quoted(name)}" for name in columns)
    keys = ", ".join(f"coalesce(one.{quoted(name)}, two.{quoted(name)})" for name in mart.grain)
    same_key = " and ".join(f"one.{quoted(name)} = two.{quoted(name)}" for name in mart.grain)
    found = other.execute(
        f"select {pairs}, one.is_there, two.is_there"
        " from (select *, true as is_there from only_ours) as one"
        " full join (select *, true as is_there from only_theirs) as two"
        f" on {same_key} order by {keys} limit {SHOWN}"
    ).fetchall()
    for *values, is_ours, is_theirs in found:
        row = dict(zip(columns, zip(values[::2], values[1::2], strict=True), strict=True))
        key = ", ".join(f"{name}={row[name][0 if is_ours else 1]}" for name in mart.grain)
        if is_ours and is_theirs:
            unequal = ", ".join(f"{name} {one} / {two}" for name, (one, two) in row.items() if one != two)
            yield f"{key}: {unequal}"
        else:
            yield f"{key}: only in {'postgres' if is_ours else engine}"


def in_quotes(path: Path) -> str:
    """Return a path for a statement."""
    return "'" + str(path).replace("'", "''") + "'"


def quoted(name: str) -> str:
    """Return a column name for a statement."""
    return f'"{name}"'


if __name__ == "__main__":
    run_main(main)
