"""Compare the marts that PostgreSQL and another engine have built: every row, as often as it is there.

usage: bin/diff [--to ENGINE] [MART ...]

Both have to be built from the same batches: bin/lake && bin/dbt --target duckdb build. Where a mart differs, the keys
of some rows are shown, with what differs. The exit code is 1 if anything does.
"""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from granary import declared, engines, project
from granary.built import Built, marts_of, quoted, workspace
from granary.declared import Mart
from granary.project import GranaryError, check_packages, run_main
from granary.text import counted, printable

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

OWN = {"build_log", "table_log"}  # each engine tells of its own builds
DIGITS = "significant_digits"  # in the meta of a column: how many of them all engines compute alike
SHOWN = 5  # rows of a mart that differ


def main() -> int:
    """Compare, print a line for each mart and a summary; return an exit code."""
    parser = ArgumentParser("bin/diff", description=__doc__, formatter_class=RawDescriptionHelpFormatter, usage=" ")
    others = engines.ENGINES[1:]
    parser.add_argument("--to", metavar="ENGINE", default=others[0], choices=others, help=" or ".join(others))
    parser.add_argument("marts", nargs="*", metavar="MART", help="what to compare (default: all marts)")
    options = parser.parse_args()
    project.load_env()
    check_packages("engines", None, "adbc_driver_postgresql", "duckdb", "pyarrow")
    chosen = choose(options.marts)
    names = [mart.name for mart in chosen]
    with marts_of("postgres", names) as ours, marts_of(options.to, names) as theirs, workspace() as connection:
        differing = sum(not is_equal(connection, ours, theirs, mart) for mart in chosen)
    print(f"{len(chosen) - differing} of {counted(len(chosen), 'mart')} equal in postgres and {options.to}")
    return int(differing > 0)


def choose(names: list[str]) -> list[Mart]:
    """Return the marts of these names, or else all that each engine builds alike."""
    marts = {name: mart for name, mart in declared.marts().items() if mart.grain and name not in OWN}
    if unknown := sorted(set(names) - marts.keys()):
        raise GranaryError(f"there is no mart {unknown[0]}: choose from {', '.join(marts)}")
    return [marts[name] for name in dict.fromkeys(names or marts)]


def is_equal(connection: duckdb.DuckDBPyConnection, ours: Built, theirs: Built, mart: Mart) -> bool:
    """Compare a mart, and print what differs; return whether nothing does."""
    types, other_types, other = ours.types(mart.name), theirs.types(mart.name), theirs.engine
    if not types or not other_types:
        print(f"{mart.name}: not built in {other if types else ours.engine}")
        return False
    if types != other_types:
        for name in dict.fromkeys([*types, *other_types]):
            one, two = types.get(name, "missing"), other_types.get(name, "missing")
            if one != two:
                print(f"{mart.name}.{name}: {one} in {ours.engine}, {two} in {other}")
        return False
    digits = {column.name: column.meta[DIGITS] for column in mart.columns if DIGITS in column.meta}
    copy(connection, "ours", types, ours.rows(mart.name, types), digits)
    copy(connection, "theirs", types, theirs.rows(mart.name, types), digits)
    rows, missing, added = set_apart(connection)
    if not missing and not added:
        print(f"{mart.name}: equal, {counted(rows, 'row')}")
        return True
    print(f"{mart.name}: {missing:,} of {counted(rows, 'row')} only in {ours.engine}, {added:,} only in {other}")
    for line in differences(connection, mart.grain, [*types], (ours.engine, other)):
        print(f"  {printable(line)}")
    return False


def copy(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    types: Mapping[str, str],
    rows: pa.RecordBatchReader,
    digits: Mapping[str, int] | None = None,
) -> None:
    """Copy rows into a table of DuckDB, with these types; of some columns only so many digits, as text."""
    values = {name: f"cast({quoted(name)} as {kind})" for name, kind in types.items()}
    for name, count in (digits or {}).items():
        values[name] = f"format('{{:.{count - 1}e}}', cast({quoted(name)} as double))"
    chosen = ", ".join(f"{value} as {quoted(name)}" for name, value in values.items())
    connection.register("arriving", rows)
    connection.execute(f"create or replace temporary table {table} as select {chosen} from arriving")
    connection.unregister("arriving")


def set_apart(connection: duckdb.DuckDBPyConnection) -> tuple[int, int, int]:
    """Fill only_ours and only_theirs with what differs; return the rows of `ours`, and of these two."""
    connection.execute("""
        create or replace temporary table apart as
        select * exclude (surplus), sum(surplus) as surplus
        from (select *, 1 as surplus from ours union all select *, -1 as surplus from theirs)
        group by all
        having sum(surplus) <> 0
    """)
    for name, sign in (("only_ours", ">"), ("only_theirs", "<")):
        rows = f"select * exclude (surplus) from apart where surplus {sign} 0"
        connection.execute(f"create or replace temporary view {name} as {rows}")
    return connection.execute("""
        select
            (select count(*) from ours),
            cast(coalesce(sum(surplus) filter (surplus > 0), 0) as bigint),
            cast(coalesce(-sum(surplus) filter (surplus < 0), 0) as bigint)
        from apart
    """).fetchall()[0]


def differences(
    connection: duckdb.DuckDBPyConnection, grain: tuple[str, ...], columns: list[str], names: tuple[str, str]
) -> Iterator[str]:
    """Yield the keys of some rows that differ, each with the values that do."""
    pairs = ", ".join(f"one.{quoted(name)}, two.{quoted(name)}" for name in columns)
    keys = ", ".join(f"coalesce(one.{quoted(name)}, two.{quoted(name)})" for name in grain)
    same_key = " and ".join(f"one.{quoted(name)} = two.{quoted(name)}" for name in grain)
    found = connection.execute(
        f"select {pairs}, one.is_there, two.is_there"
        " from (select *, true as is_there from only_ours) as one"
        " full join (select *, true as is_there from only_theirs) as two"
        f" on {same_key} order by {keys} limit {SHOWN}"
    ).fetchall()
    for *values, is_ours, is_theirs in found:
        row = dict(zip(columns, zip(values[::2], values[1::2], strict=True), strict=True))
        key = ", ".join(f"{name}={shown(row[name][0 if is_ours else 1])}" for name in grain)
        if is_ours and is_theirs:
            unequal = ", ".join(f"{name} {shown(one)} / {shown(two)}" for name, (one, two) in row.items() if one != two)
            yield f"{key}: {unequal}"
        else:
            yield f"{key}: only in {names[0] if is_ours else names[1]}"


def shown(value: Any) -> str:
    """Return a value as people write it."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


if __name__ == "__main__":
    run_main(main)
