"""Explain why a number is another one now: by the lines that were delivered since.

usage: bin/why MART COLUMN=VALUE ... --since WHEN [--json]

WHEN is a day (its end, in UTC), the number of a batch, or a build_id. The row of the mart as it was known then, which
bin/as-of builds with the code and the seeds of now, and the row as it is now are both taken apart into lines. The lines
that only one of them has, or that count differently, make up the difference: the command says what became of each, with
its effect on each number. The exit code is 1 if the effects don't add up to the difference.
"""

from __future__ import annotations

import contextlib
import json
from argparse import SUPPRESS, ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg2.extensions

from granary import as_of, copies, dbt, trace
from granary.declared import Mart
from granary.project import GranaryError, run_main
from granary.server.connection import connect
from granary.text import print_table, printable
from granary.traces import Chain, Traces, commas

KINDS = {  # what can have become of a line, in the order in which it is printed
    "added": "delivered since",
    "corrected": "corrected since",
    "moved here": "counted elsewhere then",
    "moved away": "counts elsewhere now",
    "accepted": "rejected then, and read by now",
    "rejected": "rejected by now",
    "taken back": "its batch was replaced",
    "counts differently": "counts differently, because of other lines",
}


def main() -> int:
    """Explain, print, and return an exit code."""
    parser = ArgumentParser("bin/why", SUPPRESS, __doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("mart", help=SUPPRESS)
    parser.add_argument("choices", nargs="*", help=SUPPRESS)
    parser.add_argument("--since", metavar="WHEN", required=True, help=SUPPRESS)
    parser.add_argument("--limit", type=int, default=trace.LINES, help=f"lines of a kind (default: {trace.LINES})")
    parser.add_argument("--json", action="store_true", help="print JSON, with whole lines")
    options = parser.parse_intermixed_args()
    dbt.prepare()
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        traces = Traces(cursor)
        mart = traces.mart(options.mart)
        trace.chosen_row(cursor, traces, mart, options.choices)
        marts = traces.marts_of(mart)
    name = as_of.copy_of(options.since, marts)
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="repeatable read", readonly=True)
        states = Traces(cursor, copies.schema(name, "")), Traces(cursor)
        found = explained(cursor, states, mart, options.choices, copies.existing(cursor, name).last_batch)
    if options.json:
        print(json.dumps(found, default=str, ensure_ascii=False, indent=1))
    else:
        print_explained(found, options.limit)
    return int(any(number["unexplained"] for number in found["numbers"].values()))


def explained(
    cursor: psycopg2.extensions.cursor,
    states: tuple[Traces, Traces],
    mart: Mart,
    choices: list[str],
    last_batch: int,
) -> dict[str, Any]:
    """Return a row's numbers then and now, and the lines that make up the difference."""
    condition = trace.chosen_row(cursor, states[1], mart, choices)
    rows = [row_of(cursor, traces, mart, condition) for traces in states]
    lines, causes = [], {}
    for chain in states[1].chains(mart.name):
        if chain.numbers and chain.line:
            lines += effects(cursor, states, mart, chain, condition, last_batch)
        elif chain.line:
            causes |= causes_since(cursor, states[1], mart, chain, condition, last_batch)
    numbers = dict.fromkeys(number for chain in states[1].chains(mart.name) for number in chain.numbers)
    then, now = ({number: (row or {}).get(number) or 0 for number in numbers} for row in rows)
    effect = {number: sum(line["effects"].get(number) or 0 for line in lines) for number in numbers}
    return {
        "mart": mart.name,
        "key": dict(choice.split("=", 1) for choice in choices),
        "then": {"batch": last_batch, "row": rows[0]},
        "now": {"row": rows[1]},
        "numbers": {
            number: {
                "then": then[number],
                "now": now[number],
                "unexplained": now[number] - then[number] - effect[number],
            }
            for number in numbers
        },
        "lines": sorted(
            lines, key=lambda line: ([*KINDS].index(line["kind"]), -max(map(abs, line["effects"].values())))
        ),
        "causes": list(causes.values()),
    }


def row_of(cursor: psycopg2.extensions.cursor, traces: Traces, mart: Mart, condition: str) -> dict[str, Any] | None:
    """Return the row of a mart for which a condition holds; None if there is none. Raises GranaryError for several."""
    columns = [column.name for column in mart.public_columns]
    cursor.execute(
        f"select {commas(columns)} from {traces.relation(mart.name).sql} as {mart.name} where {condition} limit 2"
    )
    found = cursor.fetchall()
    if len(found) > 1:
        keys = " or ".join(trace.key_of(mart, dict(zip(columns, row, strict=True))) for row in found)
        raise GranaryError(f"{mart.name} has several rows with that: choose one by its key, such as {keys}")
    return dict(zip(columns, found[0], strict=True)) if found else None


# -- Lines whose effect differs ----------------------------------------------------------------------------------------


def effects(
    cursor: psycopg2.extensions.cursor,
    states: tuple[Traces, Traces],
    mart: Mart,
    chain: Chain,
    condition: str,
    last_batch: int,
) -> list[dict[str, Any]]:
    """Return the lines at the end of a chain that count for something else than they did, and why."""
    of_then, of_now = (
        f"select row_id, {commas(f'sum({number}) as {number}' for number in chain.numbers)}"
        f" from ({traces.rows(mart, chain, condition)}) as lines group by row_id"
        for traces in states
    )
    changes = [f"coalesce(n.{number}, 0) - coalesce(t.{number}, 0)" for number in chain.numbers]
    cursor.execute(
        f"select coalesce(t.row_id, n.row_id), t.row_id is not null, n.row_id is not null, {commas(changes)}"
        f" from ({of_then}) as t full join ({of_now}) as n on t.row_id = n.row_id"
        f" where t.row_id is null or n.row_id is null or ({commas(changes)}) <> ({commas('0' for _ in changes)})"
    )
    found = cursor.fetchall()
    places = trace.delivered(cursor, [row_id for row_id, *_ in found])
    reasons = became(cursor, states, mart, chain, places, found, last_batch)
    lines = {
        row_id: {
            **places[row_id],
            "through": [step.source for step in chain.steps],
            "effects": dict(zip(chain.numbers, changed, strict=True)),
            **reasons[row_id],
        }
        for row_id, _, _, *changed in found
    }
    for line in list(lines.values()):  # the two versions of a correction are one entry
        if before := lines.pop(line.pop("instead_of", None), None):
            line["before"] = {name: before[name] for name in ("file", "line", "delivered")}
            for number, effect in before["effects"].items():
                line["effects"][number] += effect
    return list(lines.values())


def causes_since(
    cursor: psycopg2.extensions.cursor, now: Traces, mart: Mart, chain: Chain, condition: str, last_batch: int
) -> dict[int, dict[str, Any]]:
    """Return, by row number, the lines delivered since that decide what counts in a row, and don't count themselves."""
    cursor.execute(
        f"select distinct row_id from ({now.rows(mart, chain, condition)}) as lines where row_id is not null"
    )
    places = trace.delivered(cursor, [row_id for (row_id,) in cursor])
    return {row_id: place for row_id, place in places.items() if place["batch_id"] > last_batch}


def became(
    cursor: psycopg2.extensions.cursor,
    states: tuple[Traces, Traces],
    mart: Mart,
    chain: Chain,
    places: dict[int, dict[str, Any]],
    found: Sequence[tuple],
    last_batch: int,
) -> dict[int, dict[str, Any]]:
    """Return, by row number, what became of lines that a row has lost or won, or that count differently in it."""
    then, now = states
    won = {row_id for row_id, was_there, is_there, *_ in found if is_there and not was_there}
    lost = {row_id for row_id, was_there, is_there, *_ in found if was_there and not is_there}
    new = {row_id: places[row_id] for row_id in won if places[row_id]["batch_id"] > last_batch}
    gone = {row_id: places[row_id] for row_id in lost if places[row_id]["status"] == "loaded"}
    before = trace.current_versions(cursor, then, now, new) | {row_id: row_id for row_id in won - new.keys()}
    after = trace.current_versions(cursor, now, now, gone)
    counted_then = trace.keys_of_lines(cursor, then, mart, chain, {*before.values()})
    counted_now = trace.keys_of_lines(cursor, now, mart, chain, {*after.values()})
    reasons: dict[int, dict[str, Any]] = {}
    for row_id, *_ in found:
        if row_id in won and before.get(row_id) in lost:
            reasons[row_id] = {"kind": "corrected", "instead_of": before[row_id]}
        elif row_id in won:
            elsewhere = counted_then.get(before.get(row_id), [])
            kind = "moved here" if elsewhere else "added" if row_id in new else "accepted"
            reasons[row_id] = {"kind": kind, "elsewhere": trace.written_keys(mart, elsewhere)}
        elif row_id in gone:
            elsewhere = counted_now.get(after.get(row_id), [])
            kind = "moved away" if elsewhere else "rejected"
            reasons[row_id] = {"kind": kind, "elsewhere": trace.written_keys(mart, elsewhere)}
        else:
            reasons[row_id] = {"kind": "taken back" if row_id in lost else "counts differently"}
    return reasons


# -- Printing ----------------------------------------------------------------------------------------------------------


def print_explained(found: dict[str, Any], limit: int) -> None:
    """Print the numbers then and now, and for each kind of change its lines."""
    print(printable(f"{found['mart']} {trace.written(found['key'])}, since batch {found['then']['batch']}"))
    for state in ("then", "now"):
        if not found[state]["row"]:
            print(f"there {'was' if state == 'then' else 'is'} no such row {state}")
    header = ["number", "then", "now", "difference"]
    rows = [
        [number, trace.shown(values["then"]), trace.shown(values["now"]), trace.shown(values["now"] - values["then"])]
        for number, values in found["numbers"].items()
    ]
    print()
    print_table(header, rows)
    lines = found["lines"]
    for kind, meaning in KINDS.items():
        of_kind = [line for line in lines if line["kind"] == kind]
        if not of_kind:
            continue
        numbers = list(dict.fromkeys(name for line in of_kind for name, effect in line["effects"].items() if effect))
        is_elsewhere = any(line.get("elsewhere") for line in of_kind)
        print(f"\n{kind}: {meaning}")
        print_table(
            [*numbers, "line", "delivered", *(["elsewhere"] if is_elsewhere else [])],
            [
                [
                    *(line["effects"].get(number) or 0 for number in numbers),
                    trace.place(line),
                    text_of(line),
                    *([line["elsewhere"]] if is_elsewhere else []),
                ]
                for line in of_kind[:limit]
            ],
        )
        print_more(of_kind, limit)
    if found["causes"] and any(line["kind"] in ("moved here", "moved away", "counts differently") for line in lines):
        print("\ndelivered since, and decides where others count")
        print_table(["line", "delivered"], [[trace.place(line), text_of(line)] for line in found["causes"][:limit]])
        print_more(found["causes"], limit)
    print()
    unexplained = {
        number: values["unexplained"] for number, values in found["numbers"].items() if values["unexplained"]
    }
    if unexplained:
        print(f"not explained by lines: {trace.written(unexplained)}")
    elif lines:
        print("the effects of the lines add up to each difference; 0 is unexplained")
    else:
        print("no line that was delivered since has changed a number")


def print_more(lines: Sequence[Mapping[str, Any]], limit: int) -> None:
    """Print how many lines weren't printed."""
    if len(lines) > limit:
        print(f"  ... and {len(lines) - limit:,} more: --limit {len(lines)}, or --json")


def text_of(line: Mapping[str, Any]) -> str:
    """Return what a line held; of a correction, what it has changed."""
    before = line.get("before")
    if not before:
        return trace.text_of(line)
    old, new = before["delivered"], line["delivered"]
    changed = [f"{name} {old.get(name)} -> {value}" for name, value in new.items() if old.get(name) != value]
    return trace.abridged(f"{', '.join(changed) or 'nothing'} (before: {trace.place(before)})", trace.WIDTH)


if __name__ == "__main__":
    run_main(main)
