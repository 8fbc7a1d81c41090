"""Two tables in DuckDB, row by row and as often as each row is there: what only one of them has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from granary.built import quoted

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

SHOWN = 5  # rows that differ


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
