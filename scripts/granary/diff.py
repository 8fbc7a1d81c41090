"""Compare the marts of two copies, or of two engines: which rows differ, and by how much in total.

usage: bin/diff [LEFT] RIGHT [MART ...] [--rows N] [--json] [--html FILE]
       bin/diff --ref REV [MART ...] ...

LEFT and RIGHT are copies (bin/copy list), engines (duckdb, spark), or the warehouse itself, which is LEFT unless you
say otherwise. With --ref, what the code of another commit makes of the batches is compared with what yours does; both
are built in copies. Rows are matched by the mart's primary key. Columns that tell where a row comes from (_batch_id,
_row_id) are compared between engines only. The exit code is 0 if all marts are equal, 1 if one differs, 2 for errors.

  --rows N     show N rows that differ of each mart (default: 5)
  --json       print everything as JSON
  --html FILE  write one page that needs no network
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
from argparse import SUPPRESS, ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from granary import apart, copies, declared, engines, project
from granary.built import marts_of, quoted, workspace
from granary.declared import Mart, kind_of
from granary.project import GranaryError, check_packages, marts_schema, run_main, writing
from granary.reports.quality import render
from granary.server.connection import connect
from granary.text import counted, printable

OWN = {"build_log", "table_log"}  # each engine, and each copy, tells of its own builds
DIGITS = "significant_digits"  # in the meta of a column: how many of them all engines compute alike
WAREHOUSE = "warehouse"
Query = Callable[[str], Sequence[tuple]]

TYPES = """
    select attname, format_type(atttypid, atttypmod) from pg_attribute
    where attrelid = to_regclass('{}') and attnum > 0 and not attisdropped order by attnum
"""


@dataclasses.dataclass
class Difference:
    """What differs between two states of a mart. `sums` has each number's total on the left and on the right.

    `rows` are the first rows that differ: their key, and by column the values of both sides; a row that only one side
    has lacks the other's.
    """

    mart: str
    equal: int = 0
    changed: int = 0
    only_left: int = 0
    only_right: int = 0
    sums: dict[str, tuple[Any, Any]] = dataclasses.field(default_factory=dict)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    columns: list[str] = dataclasses.field(default_factory=list)  # of which one side has another type, or none
    missing: str = ""  # the side that hasn't built the mart

    @property
    def is_none(self) -> bool:
        """Return whether nothing differs."""
        return not (self.changed or self.only_left or self.only_right or self.columns or self.missing)

    @property
    def moved_sums(self) -> list[tuple[str, Any, Any]]:
        """Return the numbers whose totals differ, with both totals."""
        return [(name, one, two) for name, (one, two) in self.sums.items() if (one or 0) != (two or 0)]


def main() -> int:
    """Compare, print what differs, and return an exit code."""
    try:
        return compare(arguments())
    except GranaryError as error:
        print("\n".join(printable(line) for line in f"error: {error}".split("\n")), file=sys.stderr)
        return 2


def arguments() -> Namespace:
    """Return what the command line says."""
    parser = ArgumentParser("bin/diff", SUPPRESS, __doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=SUPPRESS)
    parser.add_argument("--ref", help=SUPPRESS)
    parser.add_argument("--rows", type=int, default=apart.SHOWN, help=SUPPRESS)
    parser.add_argument("--json", action="store_true", help=SUPPRESS)
    parser.add_argument("--html", type=Path, help=SUPPRESS)
    return parser.parse_args()


def compare(options: Namespace) -> int:
    """Compare what the options name; return an exit code."""
    project.load_env()
    left, right, names = sides(options)
    marts = choose(names)
    differences = of_engines if {left, right} & {*engines.ENGINES} else of_copies
    found = []
    for difference in differences(left, right, marts, max(options.rows, 0)):
        found.append(difference)
        if not options.json:
            print_difference(difference, left, right)
    equal = sum(difference.is_none for difference in found)
    summary = f"{equal} of {counted(len(found), 'mart')} equal in {left} and {right}"
    if options.json:
        marts_found = {each.mart: dataclasses.asdict(each) for each in found}
        print(
            json.dumps({"left": left, "right": right, "marts": marts_found}, default=str, ensure_ascii=False, indent=1)
        )
    else:
        print(summary)
    if options.html:
        page = render({"left": left, "right": right, "summary": summary, "differences": found}, "diff.html")
        with writing(options.html, "--html") as file:
            file.write(page.encode())
    return int(equal < len(found))


def sides(options: Namespace) -> tuple[str, str, list[str]]:
    """Return the two sides, and the marts, that the arguments name. With --ref, build both sides."""
    if options.ref:
        return (*of_code(options.ref, options.names), options.names)
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        made = copies.names(cursor)
        known = [WAREHOUSE, *engines.ENGINES, *made]
        named = len(list(itertools.takewhile(lambda name: name in known, options.names[:2])))
        selected = [
            copies.existing(cursor, name).circumstances.select for name in options.names[:named] if name in made
        ]
    if not named:
        which = f"there is no copy {options.names[0]}" if options.names else "name what to compare with"
        raise GranaryError(f"{which}: choose from {', '.join(known[1:])}; bin/copy create makes copies")
        selected = [
            copies.existing(cursor, name).circumstances.select for name in options.names[:named] if name in made
        ]
    left, right = options.names[:2] if named == 2 else (WAREHOUSE, options.names[0])
    if {left, right} & {*engines.ENGINES}:
        left, right = (engines.ENGINES[0] if side == WAREHOUSE else side for side in (left, right))
    asked_for = [mart for marts in selected for mart in marts]  # when a copy was made
    return left, right, options.names[named:] or asked_for


def choose(names: list[str]) -> list[Mart]:
    """Return the marts of these names, or else all that are about what was delivered."""
    marts = {name: mart for name, mart in declared.marts().items() if mart.grain and name not in OWN}
    if unknown := sorted(set(names) - marts.keys()):
        raise GranaryError(f"there is no mart {unknown[0]}: choose from {', '.join(marts)}")
    return [marts[name] for name in dict.fromkeys(names or marts)]


def of_code(ref: str, marts: Sequence[str]) -> tuple[str, str]:
    """Build what another commit makes of the batches, and what the code in this tree does; return the two copies."""
    made = {"code_of_ref": copies.Circumstances(ref=ref, select=tuple(marts))}
    made["code_of_tree"] = copies.Circumstances(select=tuple(marts))
    with contextlib.redirect_stdout(sys.stderr), copies.turn("bin/diff") as connection:
        for name, circumstances in made.items():
            print(f"building {name} ...", flush=True)
            copies.create(connection, name, circumstances)
    return ("code_of_ref", "code_of_tree")


# -- What is compared --------------------------------------------------------------------------------------------------


def of_copies(left: str, right: str, marts: list[Mart], limit: int) -> Iterator[Difference]:
    """Yield what differs between two copies, one of which may be the warehouse: the database itself compares them."""
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        connection.set_session(isolation_level="repeatable read", readonly=True)

        def query(text: str) -> Sequence[tuple]:
            cursor.execute(text)
            return cursor.fetchall()

        for mart in marts:
            tables = [f'"{schema_of(side)}"."{mart.name}"' for side in (left, right)]
            types = [
                {name: kind for name, kind in query(TYPES.format(table)) if not name.startswith("_")}
                for table in tables
            ]
            yield difference_of(query, mart, (left, right), tables, types, limit)


def of_engines(left: str, right: str, marts: list[Mart], limit: int) -> Iterator[Difference]:
    """Yield what differs between two engines: DuckDB compares them."""
    check_packages("engines", None, "adbc_driver_postgresql", "duckdb", "pyarrow")
    names = [mart.name for mart in marts]
    with marts_of(left, names) as ours, marts_of(right, names) as theirs, workspace() as connection:

        def query(text: str) -> Sequence[tuple]:
            return connection.execute(text).fetchall()

        for mart in marts:
            digits = {column.name: column.meta[DIGITS] for column in mart.columns if DIGITS in column.meta}
            types, tables = [built.types(mart.name) for built in (ours, theirs)], []
            key = ", ".join(map(quoted, mart.grain))
            for name, built, own in zip(("ours", "theirs"), (ours, theirs), types, strict=True):
                if own:
                    apart.copy(connection, name, own, built.rows(mart.name, own), digits)
                # Only PostgreSQL has primary keys: a row that is there twice has no counterpart.
                tables.append(f"(select *, row_number() over (partition by {key}) as occurrence from {name})")
            # What all engines compute alike of a column is compared as text.
            types = [{name: "text" if name in digits else kind for name, kind in own.items()} for own in types]
            yield difference_of(query, mart, (left, right), tables, types, limit, ("occurrence",))


def schema_of(side: str) -> str:
    """Return the schema of the marts of a copy, or of the warehouse."""
    return marts_schema() if side == WAREHOUSE else copies.schema(side, "marts")


def difference_of(
    query: Query,
    mart: Mart,
    sides: tuple[str, str],
    tables: Sequence[str],
    types: Sequence[Mapping[str, str]],
    limit: int,
    counted_by: tuple[str, ...] = (),
) -> Difference:
    """Return what differs between two tables of a mart, in the columns that both have with the same type.

    `counted_by` is a column that tells rows of the same key from one another.
    """
    found = Difference(mart.name)
    if absent := [side for side, own in zip(sides, types, strict=True) if not own]:
        found.missing = " and ".join(absent)
        return found
    columns = [name for name, kind in types[0].items() if types[1].get(name) == kind]
    for name in dict.fromkeys(name for own in types for name in own if name not in columns):
        one, two = (own.get(name, "missing") for own in types)
        found.columns.append(f"{mart.name}.{name}: {one} in {sides[0]}, {two} in {sides[1]}")
    if not {*mart.grain} <= {*columns}:
        return found
    values = [name for name in columns if name not in mart.grain]
    numbers = [name for name in values if kind_of(types[0][name]) in ("integer", "number")]
    if sums := summed(mart):
        numbers = [name for name in numbers if name in sums]  # the sum of an average says nothing
    same_key = " and ".join(f"l.{quoted(name)} = r.{quoted(name)}" for name in (*mart.grain, *counted_by))
    differs = " or ".join(f"l.{quoted(name)} is distinct from r.{quoted(name)}" for name in values) or "false"
    joined = (
        f"from (select *, true as is_there from {tables[0]} as of_left) as l"
        f" full join (select *, true as is_there from {tables[1]} as of_right) as r on {same_key}"
    )
    both = "l.is_there and r.is_there"
    totals = "".join(f", sum({side}.{quoted(name)})" for name in numbers for side in "lr")
    cases = (f"{both} and not ({differs})", f"{both} and ({differs})", "r.is_there is null", "l.is_there is null")
    counts = ", ".join(f"count(case when {case} then 1 end)" for case in cases)
    ((found.equal, found.changed, found.only_left, found.only_right, *sums),) = query(
        f"select {counts}{totals} {joined}"
    )
    found.sums = dict(zip(numbers, zip(sums[::2], sums[1::2], strict=True), strict=True))
    if limit and (found.changed or found.only_left or found.only_right):
        pairs = ", ".join(f"l.{quoted(name)}, r.{quoted(name)}" for name in columns)
        order = ", ".join(f"coalesce(l.{quoted(name)}, r.{quoted(name)})" for name in mart.grain)
        for *both_values, is_left, is_right in query(
            f"select {pairs}, l.is_there, r.is_there {joined}"
            f" where l.is_there is null or r.is_there is null or {differs} order by {order} limit {limit}"
        ):
            row = dict(zip(columns, zip(both_values[::2], both_values[1::2], strict=True), strict=True))
            found.rows.append(
                {
                    "key": {name: row[name][0 if is_left else 1] for name in mart.grain},
                    "only_in": None if is_left and is_right else sides[0 if is_left else 1],
                    "changed": {
                        name: row[name] for name in values if is_left and is_right and row[name][0] != row[name][1]
                    },
                }
            )
    return found


def summed(mart: Mart) -> set[str]:
    """Return the numbers of a mart that its trace calls sums; none if its rows are lines, or nobody says."""
    trace = mart.meta.get("trace")
    if not isinstance(trace, list) or any(column.name == "_row_id" for column in mart.columns):
        return set()
    return {name for step in trace for name in (*step.get("sums", ()), *step.get("distinct", ()))}


# -- Printing ----------------------------------------------------------------------------------------------------------


def print_difference(found: Difference, left: str, right: str) -> None:
    """Print a line about a mart, and where it differs, its sums and rows."""
    for line in lines_of(found, left, right):
        print(printable(line))


def lines_of(found: Difference, left: str, right: str) -> Iterator[str]:
    """Yield what there is to say of a mart."""
    if found.missing:
        yield f"{found.mart}: not built in {found.missing}"
        return
    yield from found.columns
    if not (found.changed or found.only_left or found.only_right):
        if not found.columns:
            yield f"{found.mart}: equal, {counted(found.equal, 'row')}"
        return
    yield (
        f"{found.mart}: {found.equal:,} equal, {found.changed:,} changed, {found.only_left:,} only in {left},"
        f" {found.only_right:,} only in {right}"
    )
    for name, one, two in found.moved_sums:
        yield f"  sum of {name}: {shown(one)} in {left}, {shown(two)} in {right} ({(two or 0) - (one or 0):+,})"
    for row in found.rows:
        key = ", ".join(f"{name}={shown(value)}" for name, value in row["key"].items())
        pairs = ", ".join(f"{name} {shown(one)} / {shown(two)}" for name, (one, two) in row["changed"].items())
        where = f"only in {row['only_in']}"
        yield f"  {key}: {where if row['only_in'] else pairs}"


def shown(value: Any) -> str:
    """Return a value as people write it."""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


if __name__ == "__main__":
    run_main(main)
