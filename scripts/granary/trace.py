"""Show which delivered lines a number is made of, or what became of a line.

usage: bin/trace MART COLUMN=VALUE ... [--limit N] [--json]
       bin/trace --file PATH --line N [--json]
       bin/trace --check [MART ...]

The values choose one row of a mart, mostly by its key. Its numbers are taken apart into the lines that were delivered,
each with its share. The other way, PATH is a delivered file, and N the line in it. --check takes all rows of all marts
apart. The exit code is 1 if shares don't add up to a number, or if a row comes from nowhere.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from granary import declared, project
from granary.declared import Mart
from granary.project import GranaryError, run_main
from granary.server.connection import connect
from granary.text import abridged, counted, print_table, printable
from granary.traces import BUILDS, Chain, Traces, commas

LINES = 20  # that are shown of a number, unless --limit says otherwise
WIDTH = 100  # of what is shown of a line
REACHED = 3  # rows of a mart that are named for a line

# Row numbers grow with the batches, and a batch without rows has the first number of the one after it.
PLACES = """
    select
        rows.row_id, batches.feed, batches.entity, batches.path, rows.row_id - batches.first_row_id + 1,
        batches.batch_id, batches.status
    from unnest(cast(%s as bigint[])) as rows (row_id)
    cross join lateral (
        select * from raw._batches where first_row_id <= rows.row_id order by first_row_id desc, batch_id desc limit 1
    ) as batches
"""


def main() -> int:
    """Trace what the arguments name, print it, and return an exit code."""
    parser = ArgumentParser("bin/trace", SUPPRESS, __doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help=SUPPRESS)
    parser.add_argument("--file", metavar="PATH", help=SUPPRESS)
    parser.add_argument("--line", metavar="N", type=int, help=SUPPRESS)
    parser.add_argument("--limit", metavar="N", type=int, default=LINES, help=f"lines of a number (default: {LINES})")
    parser.add_argument("--check", action="store_true", help=SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print JSON, with whole lines")
    options = parser.parse_args()
    if (options.file is None) != (options.line is None) or (options.file and options.what):
        raise GranaryError("a line needs --file PATH and --line N, and no mart")
    if not (options.what or options.file or options.check):
        raise GranaryError("nothing to trace: name a mart and its row, or a file and its line; see bin/trace --help")
    project.load_env()
    with contextlib.closing(connect()) as connection:
        connection.set_session(isolation_level="repeatable read", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("select to_regclass('raw._batches')")
            if cursor.fetchone() == (None,):
                raise GranaryError("nothing has been loaded yet: bin/ingest")
            traces = Traces(cursor)
            if options.check:
                return check(cursor, traces, options.what)
            if options.file:
                found = what_became_of(cursor, traces, options.file, options.line)
                print_found(found, options.json, print_line)
                return 0
            mart = traces.mart(options.what[0])
            found = taken_apart(cursor, traces, mart, options.what[1:], max(options.limit, 0))
            print_found(found, options.json, print_row)
            adds_up = all(number["sum"] == number["cell"] for number in found["numbers"].values())
            return int(not adds_up or not (found["parts"] or found["empty"]))


# -- From a row to its lines -------------------------------------------------------------------------------------------


def taken_apart(
    cursor: psycopg2.extensions.cursor, traces: Traces, mart: Mart, choices: Sequence[str], limit: int
) -> dict[str, Any]:
    """Return a row of a mart with its numbers, and the lines that they are made of."""
    condition = chosen_row(cursor, traces, mart, choices)
    relation = traces.relation(mart.name).sql
    cursor.execute(f"select * from {relation} as {mart.name} where {condition} limit 6")
    columns = [column.name for column in cursor.description or ()]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor]
    if not rows:
        raise GranaryError(f"{mart.name} has no row with {', '.join(choices)}")
    if len(rows) > 1:
        keys = "".join(f"\n  bin/trace {mart.name} {key_of(mart, row)}" for row in rows[:5])
        more = "" if len(rows) <= 5 else "\n  ..."
        raise GranaryError(f"{mart.name} has several rows with {', '.join(choices) or 'that'}: choose one{keys}{more}")
    row, numbers = rows[0], {}
    if totals := traces.sums(mart, condition):
        cursor.execute(totals)
        numbers = {number: {"cell": cell, "sum": share} for *_, number, cell, share in cursor}
    return {
        "mart": mart.name,
        "key": {column: row[column] for column in mart.grain},
        "row": row,
        "numbers": numbers,
        "not_sums": {
            column.name: column.description
            for column in mart.public_columns
            if column.kind in ("integer", "number") and column.name not in numbers and not traces.own(mart.name)
        },
        "empty": next((step.empty for step in traces.declared(mart.name) if step.empty), ""),
        "parts": [
            part
            for chain in traces.chains(mart.name)
            if (part := part_of(cursor, traces, mart, chain, condition, limit))["count"]
        ],
    }


def chosen_row(cursor: psycopg2.extensions.cursor, traces: Traces, mart: Mart, choices: Sequence[str]) -> str:
    """Return the condition, as SQL, for the values that are to choose a row."""
    types = traces.relation(mart.name).columns
    conditions = []
    for choice in choices:
        column, is_given, value = choice.partition("=")
        if not is_given or column not in types:
            public = ", ".join(each.name for each in mart.public_columns)
            raise GranaryError(f"{choice}: {mart.name} needs COLUMN=VALUE, with one of its columns: {public}")
        cursor.execute("select pg_input_is_valid(%s, %s)", (value, types[column]))
        if not cursor.fetchone()[0]:
            raise GranaryError(f"{choice}: {column} is of the type {types[column]}, which can't be {value!r}")
        conditions.append(cursor.mogrify(f'"{column}" = cast(%s as {types[column]})', (value,)).decode())
    return " and ".join(conditions) or "true"


def part_of(
    cursor: psycopg2.extensions.cursor, traces: Traces, mart: Mart, chain: Chain, condition: str, limit: int
) -> dict[str, Any]:
    """Return the lines at the end of a chain: how many, and of the first ones the place, the text and the shares."""
    rows = traces.rows(mart, chain, condition)
    largest = f"abs({chain.numbers[0]}) desc nulls last, " if chain.numbers else ""
    cursor.execute(f"select *, count(*) over () from ({rows}) as rows order by {largest}row_id, batch_id limit {limit}")
    found = cursor.fetchall()
    if not limit:
        cursor.execute(f"select count(*) from ({rows}) as rows")
    count = cursor.fetchone()[0] if not limit else found[0][-1] if found else 0
    grain = len(mart.grain)
    places = delivered(cursor, [row_id for *_, row_id, _, _ in found if row_id is not None])
    files = files_of(cursor, [batch_id for *_, batch_id, _ in found if batch_id is not None])
    return {
        "through": [step.source for step in chain.steps],
        "is_seed": chain.source in traces.seeds,
        "numbers": list(chain.numbers),
        "count": count,
        "lines": [
            {
                "shares": dict(zip(chain.numbers, row[grain:-3], strict=True)),
                **(places.get(row[-3]) or files.get(row[-2]) or {}),
            }
            for row in found
        ],
    }


def delivered(cursor: psycopg2.extensions.cursor, row_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return for row numbers the file, the line, and what it held, as delivered."""
    cursor.execute(PLACES, (list(row_ids),))
    names = ("feed", "entity", "file", "line", "batch_id", "status")
    found = {row_id: dict(zip(names, place, strict=True)) for row_id, *place in cursor}
    for feed, entity in dict.fromkeys((place["feed"], place["entity"]) for place in found.values()):
        table = sql.Identifier("raw", f"{feed}__{entity}")
        cursor.execute(
            sql.SQL(
                "select _row_id, row_to_json(rows) from {} as rows where _row_id = any(cast(%s as bigint[]))"
            ).format(table),
            (list(row_ids),),
        )
        for row_id, values in cursor:
            found[row_id]["delivered"] = {name: value for name, value in values.items() if not name.startswith("_")}
    return found


def files_of(cursor: psycopg2.extensions.cursor, batch_ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return for numbers of batches the file of each."""
    cursor.execute(
        "select batch_id, path from raw._batches where batch_id = any(cast(%s as bigint[]))", (list(batch_ids),)
    )
    return {batch_id: {"file": path} for batch_id, path in cursor}


def key_of(mart: Mart, row: Mapping[str, Any]) -> str:
    """Return the key of a row as a command takes it."""
    return " ".join(f"{column}={shown(row[column])}" for column in mart.grain)


# -- From a line to the rows of marts ----------------------------------------------------------------------------------


def what_became_of(cursor: psycopg2.extensions.cursor, traces: Traces, path: str, line: int) -> dict[str, Any]:
    """Return what became of a line of a delivered file: rejected, superseded by which line, part of which rows."""
    batch = batch_of(cursor, path)
    found = {**batch, "line": line}
    cursor.execute(
        "select line, explanation from raw._rejected_lines where batch_id = %s and line_number = %s",
        (batch["batch_id"], line),
    )
    if rejected := cursor.fetchone():
        return found | {"text": rejected[0], "rejections": [{"column": None, "because": rejected[1], "state": None}]}
    row_id = (batch["first_row_id"] or 0) + line - 1
    place = delivered(cursor, [row_id]).get(row_id, {}) if batch["first_row_id"] else {}
    if place.get("file") != batch["file"] or "delivered" not in place:
        return found
    rejected_rows = traces.relation("rejected_rows").sql
    cursor.execute(
        f"select column_name, explanation, state, severity from {rejected_rows} where _row_id = %s", (row_id,)
    )
    rejections = [
        {"column": column, "because": because, "state": state, "costs": severity}
        for column, because, state, severity in cursor
    ]
    current = current_versions(cursor, traces, traces, {row_id: place}).get(row_id)
    return found | {
        "delivered": place["delivered"],
        "rejections": rejections,
        "superseded_by": None if current in (None, row_id) else delivered(cursor, [current])[current],
        "marts": list(reached(cursor, traces, row_id)),
    }


def batch_of(cursor: psycopg2.extensions.cursor, path: str) -> dict[str, Any]:
    """Return the newest batch of a file, preferably the one in use."""
    name = path
    with contextlib.suppress(ValueError):
        name = str(Path(os.path.abspath(path)).relative_to(project.data_folder().resolve()))
    cursor.execute(
        "select batch_id, path, feed, entity, first_row_id, status, error, finished_at from raw._batches"
        " where path in (%s, %s) order by status = 'loaded' desc, batch_id desc limit 1",
        (name, path),
    )
    if not (batch := cursor.fetchone()):
        cursor.execute(
            "select distinct path from raw._batches where strpos(path, %s) > 0 order by path limit 3",
            (Path(path).name,),
        )
        similar = "".join(f"\n  {project.data_folder() / similar}" for (similar,) in cursor)
        hint = f" Did you mean{similar}" if similar else " bin/ingest loads the files below the data folder."
        raise GranaryError(f"no file {path} has been loaded.{hint}")
    names = ("batch_id", "file", "feed", "entity", "first_row_id", "status", "error", "loaded_at")
    return dict(zip(names, batch, strict=True))


def current_versions(
    cursor: psycopg2.extensions.cursor, state: Traces, known: Traces, places: Mapping[int, Mapping[str, Any]]
) -> dict[int, int]:
    """Return, by row number, the row that a state has as the current version of what each of some rows delivered.

    `places` says where these rows are, see `delivered`. Their keys are read in the tables of `known`, which are those
    of the same warehouse or of a copy.
    """
    entities, _ = declared.declarations()
    found: dict[int, int] = {}
    for feed, entity in dict.fromkeys((place["feed"], place["entity"]) for place in places.values()):
        version = entities[feed, entity].meta.get("current_version") if (feed, entity) in entities else None
        model, staging = (version or {}).get("model"), f"stg_{feed}__{entity}"
        if not version or model not in state.relations or not {model, staging} <= known.relations.keys():
            continue
        versions, has_all = state.relations[model], "is_current" in state.relations[model].columns
        source = known.relations[model if has_all else staging]
        if not set(version["key"]) <= versions.columns.keys() & source.columns.keys():
            continue
        same = " and ".join(f"newest.{column} = line.{column}" for column in version["key"])
        is_current = "newest.is_current" if has_all else "true"
        row_ids = [row_id for row_id, place in places.items() if (place["feed"], place["entity"]) == (feed, entity)]
        cursor.execute(
            f"select line._row_id, max(newest._row_id) from {source.sql} as line inner join {versions.sql} as newest"
            f" on {same} where line._row_id = any(%s) and {is_current} group by line._row_id",
            (row_ids,),
        )
        found |= dict(cursor.fetchall())
    return found


def keys_of_lines(
    cursor: psycopg2.extensions.cursor, traces: Traces, mart: Mart, chain: Chain, row_ids: Collection[int]
) -> dict[int, list[dict[str, Any]]]:
    """Return, by row number, the keys of the rows of a mart that lines are part of, by one of its chains."""
    found: dict[int, list[dict[str, Any]]] = {}
    if row_ids:
        keys = commas(f"key_{i}" for i, _ in enumerate(mart.grain))
        rows = traces.rows(mart, dataclasses.replace(chain, distinct={}))
        condition = f"row_id in ({commas(map(str, sorted(row_ids)))})"
        cursor.execute(f"select distinct {keys}, row_id from ({rows}) as rows where {condition} order by {keys}")
        for *key, row_id in cursor:
            found.setdefault(row_id, []).append(dict(zip(mart.grain, key, strict=True)))
    return found


def reached(cursor: psycopg2.extensions.cursor, traces: Traces, row_id: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of marts that a line is part of, with its share in their numbers."""
    for mart in traced_marts(traces):
        for chain in traces.chains(mart.name):
            if not chain.line:
                continue
            summed = dataclasses.replace(chain, distinct={})  # which of several lines counts isn't the line's own
            keys = [f"key_{i}" for i, _ in enumerate(mart.grain)]
            shares = [f"sum({number}) as {number}" for number in summed.numbers]
            cursor.execute(
                f"select {commas([*keys, *shares])}, count(*) over ()"
                f" from (select * from ({traces.rows(mart, summed)}) as rows where row_id = {row_id}) as of_line"
                f" group by {commas(keys)} order by {commas(keys)} limit {REACHED}"
            )
            if rows := cursor.fetchall():
                yield {
                    "mart": mart.name,
                    "through": [step.source for step in chain.steps],
                    "count": rows[0][-1],
                    "rows": [
                        {
                            "key": dict(zip(mart.grain, row, strict=False)),
                            "shares": dict(zip(summed.numbers, row[len(keys) : -1], strict=True)),
                        }
                        for row in rows
                    ],
                }


# -- All rows ----------------------------------------------------------------------------------------------------------


def traced_marts(traces: Traces, names: Sequence[str] = ()) -> list[Mart]:
    """Return these marts, or all that are built and don't tell of builds."""
    if names:
        return [traces.mart(name) for name in names]
    return [
        traces.mart(name)
        for name, mart in traces.marts.items()
        if mart.grain and name in traces.relations and mart.meta.get("trace") != BUILDS
    ]


def check(cursor: psycopg2.extensions.cursor, traces: Traces, names: Sequence[str]) -> int:
    """Take all rows of marts apart; print what doesn't add up and a summary; return an exit code."""
    checked, differing, untraced = 0, 0, 0
    marts = traced_marts(traces, names)
    for mart in marts:
        if totals := traces.sums(mart):
            cursor.execute(totals)
            for *key, number, cell, share in cursor:
                checked += 1
                if cell != share:
                    differing += 1
                    row = key_of(mart, dict(zip(mart.grain, key, strict=True)))
                    print(
                        printable(f"{mart.name} {row}: {number} is {shown(cell)}, its lines add up to {shown(share)}")
                    )
        cursor.execute(traces.without_trace(mart))
        for key in cursor:
            untraced += 1
            print(printable(f"{mart.name} {key_of(mart, dict(zip(mart.grain, key, strict=True)))}: comes from no line"))
    print(
        f"{counted(len(marts), 'mart')}, {counted(checked, 'number')} taken apart: {differing or 'none'} differ,"
        f" {counted(untraced, 'row') if untraced else 'no row'} without a line, file or seed"
    )
    return int(differing + untraced > 0)


# -- Printing ----------------------------------------------------------------------------------------------------------


def print_found(found: dict[str, Any], as_json: bool, write: Any) -> None:
    """Print what was found, as JSON or for people."""
    if as_json:
        print(json.dumps(found, default=str, ensure_ascii=False, indent=1))
    else:
        write(found)


def print_row(found: dict[str, Any]) -> None:
    """Print a row, the lines of each of its numbers, and whether they add up."""
    print(printable(f"{found['mart']} {written(found['key'])}"))
    for part in found["parts"]:
        numbers = [f"{number} {shown(found['numbers'][number]['cell'])}" for number in part["numbers"]]
        through = part["through"]
        what = counted(part["count"], "row" if part["is_seed"] else "line")
        where = f"{what} of {through[-1]}" if through else "its own line"
        on_the_way = f", through {', '.join(through[:-1])}" if through[1:] else ""
        print()
        print(printable(f"{', '.join(numbers)}{': ' if numbers else ''}{where}{on_the_way}"))
        if part["is_seed"] or (through[1:] and not numbers):  # what decides where others count, not how much
            continue
        rows = [[*line["shares"].values(), place(line), text_of(line)] for line in part["lines"]]
        if rows:
            print_table([*part["numbers"], "line", "delivered"], rows)
        if part["count"] > len(rows):
            print(f"  ... and {part['count'] - len(rows):,} more: --limit {part['count']}, or --json")
    print()
    if not found["parts"]:
        print(printable(f"no line: {found['empty']}" if found["empty"] else "comes from no line, file or seed"))
    for number, values in found["numbers"].items():
        if values["cell"] != values["sum"]:
            print(f"{number} is {shown(values['cell'])}, but its lines add up to {shown(values['sum'])}")
    if found["numbers"] and all(values["cell"] == values["sum"] for values in found["numbers"].values()):
        print(f"the shares of the lines add up to {', '.join(found['numbers'])}")
    for number, description in found["not_sums"].items():
        print(printable(f"not a sum of lines: {number} {shown(found['row'][number])}. {description}"))


def print_line(found: dict[str, Any]) -> None:
    """Print what became of a line."""
    loaded = f"batch {found['batch_id']}, {found['status']} {found['loaded_at']:%Y-%m-%d %H:%M} UTC"
    print(printable(f"{project.data_folder().name}/{found['file']}:{found['line']} ({loaded})"))
    if found["error"]:
        print(printable(f"nothing of it was loaded: {found['error']}"))
    if text := found.get("text") or text_of(found):
        print(f"  {abridged(text, 2 * WIDTH)}")
    elif not found["error"]:
        print("  holds no row: a header, an empty line, or part of a value that begins on a line before it")
    for rejection in found.get("rejections", []):
        what = "rejected" if rejection.get("costs") != "value" else "its value is rejected"
        state = f" ({rejection['state']})" if rejection["state"] else ""
        print(printable(f"{what}: {rejection['column'] or 'the line'}: {rejection['because']}{state}"))
    if by := found.get("superseded_by"):
        print(printable(f"superseded by {place(by)}: {text_of(by)}"))
    for reach in found.get("marts", []):
        through = f" (through {', '.join(reach['through'])})" if reach["through"] else ""
        for row in reach["rows"]:
            shares = ", ".join(f"{number} {shown(share)}" for number, share in row["shares"].items())
            print(printable(f"part of {reach['mart']} {written(row['key'])}{f': {shares}' if shares else ''}{through}"))
        if reach["count"] > len(reach["rows"]):
            print(f"  ... and {reach['count'] - len(reach['rows']):,} more rows of {reach['mart']}")


def written_keys(mart: Mart, keys: Sequence[Mapping[str, Any]]) -> str:
    """Return the keys of the first of some rows of a mart."""
    return ", ".join(key_of(mart, key) for key in keys[:REACHED]) + (" ..." if len(keys) > REACHED else "")


def place(line: Mapping[str, Any]) -> str:
    """Return the place of a line as editors take it."""
    if "file" not in line:
        return ""
    return f"{project.data_folder().name}/{line['file']}" + (f":{line['line']}" if "line" in line else "")


def text_of(line: Mapping[str, Any]) -> str:
    """Return what a line held, as delivered; empty values are left out."""
    values = line.get("delivered", {}).items()
    return abridged(", ".join(f"{name}={value}" for name, value in values if value not in (None, "")), WIDTH)


def written(values: Mapping[str, Any]) -> str:
    """Return values with their names."""
    return " ".join(f"{name}={shown(value)}" for name, value in values.items())


def shown(value: Any) -> str:
    """Return a value as people write it."""
    return f"{value:,f}" if isinstance(value, Decimal) else f"{value:,}" if isinstance(value, int) else str(value)


if __name__ == "__main__":
    run_main(main)
