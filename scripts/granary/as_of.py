"""Print a mart as it was known at the end of a day, by the code of now.

usage: bin/as-of WHEN MART [column=value ...] [--json]      e.g.  bin/as-of 2026-02-03 load_audit status=failed

WHEN is a day (in UTC), the number of a batch, or a build_id, as for bin/copy create --as-of. Only rows with the values
are printed; `column=` is for null. The mart is built once, with what it needs, in the copy as_of_<batch>, and only read
from then on, until the code changes. bin/copy drop 'as_of_*' removes all these copies.

  --json  all rows, and all columns, as JSON: an object with the rows and what they are
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from typing import Any

import psycopg2
from psycopg2 import sql

from granary import copies, dbt
from granary.circumstances import Circumstances, check_marts, known_at
from granary.copies import Copy
from granary.declared import Mart
from granary.project import GranaryError, run_main
from granary.server.connection import connect
from granary.text import counted, print_table

TYPES = {"integer": "numeric", "number": "numeric", "boolean": "boolean", "date": "date", "time": "timestamptz"}
SHOWN = 500  # rows, unless as JSON


def main() -> int:
    """Build the copy unless it is there, and print; return an exit code."""
    form = {"usage": argparse.SUPPRESS, "description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("bin/as-of", **form)
    parser.add_argument("when", metavar="WHEN", help=argparse.SUPPRESS)
    parser.add_argument("mart", metavar="MART", help=argparse.SUPPRESS)
    parser.add_argument("filters", metavar="column=value", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_intermixed_args()
    dbt.prepare()
    mart = check_marts([options.mart])[options.mart]
    with copies.rights(), contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        where = condition(cursor, mart, options.filters)
    name = copy_of(options.when, [mart.name])
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        try:
            show(cursor, copies.existing(cursor, name), mart, where, options.json)
        except psycopg2.errors.UndefinedTable:
            raise GranaryError(f"the copy {name} was dropped meanwhile: try again") from None
    return 0


def condition(cursor: Any, mart: Mart, filters: list[str]) -> sql.Composable:
    """Return the SQL condition for column=value ... Raises GranaryError if a column or a value can't be."""
    kinds, parts = {column.name: column.kind for column in mart.columns}, [sql.SQL("true")]
    for each in filters:
        name, equals, value = each.partition("=")
        if name not in kinds or not equals:
            raise GranaryError(f"{each}: write column=value; the columns of {mart.name} are {', '.join(kinds)}")
        if kind := TYPES.get(kinds[name]):
            cursor.execute("select pg_input_is_valid(%s, %s)", [value, kind])
            if value and not cursor.fetchone()[0]:
                raise GranaryError(f"{each}: {name} is of the type {kinds[name]}, and {value!r} can't be one")
        same = sql.SQL(f"= cast({{}} as {kind or 'text'})").format(sql.Literal(value)) if value else sql.SQL("is null")
        parts.append(sql.SQL("{} {}").format(sql.Identifier(name), same))
    return sql.SQL(" and ").join(parts)


def copy_of(when: str, marts: Sequence[str]) -> str:
    """Return the name of a copy that has marts as of a moment; make or refresh it if necessary. Raises GranaryError."""
    with copies.rights(), contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        name, found = cached(cursor, when, marts)
    if not found:
        with contextlib.redirect_stdout(sys.stderr), copies.turn("bin/as-of") as connection:  # that isn't the answer
            with connection, connection.cursor() as cursor:
                name, found = cached(cursor, when, marts)  # another one may have made it meanwhile
                older = copies.read(cursor, name)
            if not found:
                selected = dict.fromkeys([*(older.circumstances.select if older else ()), *marts])
                print(f"building {marts[0]} as of {when}, in the copy {name} ...", flush=True)
                copies.create(connection, name, Circumstances(as_of=when, select=tuple(selected)))
    return name


def cached(cursor: Any, when: str, marts: Sequence[str]) -> tuple[str, Copy | None]:
    """Return the name of the copy for a moment, and the copy, if it has the marts and is as one would be made now."""
    known = known_at(cursor, when)
    name = f"{copies.CACHED}{known.batch}"
    found = copies.read(cursor, name)
    current = found and (found.state, found.known, found.code) == ("complete", known.fingerprint, copies.fingerprint())
    return name, found if current and {*marts} <= {*found.circumstances.select} else None


def show(cursor: Any, copy: Copy, mart: Mart, where: sql.Composable, as_json: bool) -> None:
    """Print the rows of a mart, in the order of its grain, and a line about where they come from."""
    table = sql.Identifier(copies.schema(copy.name, "marts"), mart.name)
    order = sql.SQL(", ").join(map(sql.Identifier, mart.grain or [mart.columns[0].name]))
    loaded = sql.SQL("select finished_at::timestamp(0)::text from raw._batches where batch_id = %s")
    cursor.execute(loaded, [copy.last_batch])
    (loaded_at,) = cursor.fetchone()
    if as_json:
        cursor.execute(
            sql.SQL("select to_json(rows)::text from {} as rows where {} order by {}").format(table, where, order)
        )
        about = {"mart": mart.name, "batch_id": copy.last_batch, "loaded_at": loaded_at, "code": copies.code_of(copy)}
        rows = ",\n  ".join(row for (row,) in cursor.fetchall())
        print(f'{json.dumps(about)[:-1]}, "rows": [\n  {rows}\n]}}')
        return
    shown = [
        sql.SQL("{}" if column.kind in ("integer", "number") else "{}::text").format(sql.Identifier(column.name))
        for column in mart.public_columns
    ]
    query = sql.SQL("select {}, count(*) over () from {} where {} order by {} limit {}")
    cursor.execute(query.format(sql.SQL(", ").join(shown), table, where, order, sql.Literal(SHOWN)))
    rows = cursor.fetchall()
    code = copies.code_of(copy)
    print(f"{mart.name} as of batch {copy.last_batch}, loaded at {loaded_at} UTC; built by the code of {code}\n")
    print_table([column.name for column in mart.public_columns], [row[:-1] for row in rows])
    count = rows[0][-1] if rows else 0
    print(f"\n{counted(count, 'row')}" + (f", {SHOWN} of them shown: --json prints all" if count > SHOWN else ""))


if __name__ == "__main__":
    run_main(main)
