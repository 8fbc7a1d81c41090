"""Names, dates, counts and tables as people and the database write them."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import re
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

LONGEST_NAME = 63  # bytes, PostgreSQL's limit
MOST_COLUMNS = 1600  # of a table, the same
SYSTEM_COLUMNS = ("tableoid", "xmin", "cmin", "xmax", "cmax", "ctid")  # of every table of PostgreSQL


def snake_case(name: str) -> str:
    """Return a name as a column is called: `Order ID`, `orderId` and `ORDER-ID` all become order_id."""
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def column_name(name: str) -> str:
    """Return the column for a name in a file: in snake_case, or made from it where that can't be a column's name.

    The same name always gives the same column. A made one has two underscores, which snake_case never has.
    """
    column = snake_case(name)
    if not column:
        column = "column__" + ("_".join(f"u{ord(character):x}" for character in name.strip()) or "unnamed")
    elif column in SYSTEM_COLUMNS:
        column = f"column__{column}"
    return shortened(column)


def shortened(column: str) -> str:
    """Return a name that PostgreSQL doesn't cut off: of a longer one, the beginning and a hash."""
    if len(column.encode()) <= LONGEST_NAME:
        return column
    ending = f"__{hashlib.sha256(column.encode()).hexdigest()[:8]}"
    return column.encode()[: LONGEST_NAME - len(ending)].decode(errors="ignore").rstrip("_") + ending


def is_column_name(name: Any) -> bool:
    """Return whether a name is one that column_name may return."""
    if not isinstance(name, str) or not name or len(name.encode()) > LONGEST_NAME or name in SYSTEM_COLUMNS:
        return False
    return all(part and snake_case(part) == part for part in name.split("__"))


def read_day(text: str) -> datetime.date | None:
    """Return the date that a text of the form YYYY-MM-DD names; None if it names none."""
    with contextlib.suppress(ValueError):
        day = datetime.date.fromisoformat(text)
        if day.isoformat() == text:  # newer Pythons read other forms as well
            return day
    return None


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 1,200 rows."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"


def in_units(period: datetime.timedelta) -> str:
    """Return a period in its largest unit of which there are two: 36 hours, 7 days."""
    seconds = period.total_seconds()
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)} {unit}s"
    return counted(int(seconds), "second")


def printable(text: object) -> str:
    """Return text that came from a file or the database as it is safe to show on a terminal, in one line.

    Whatever could move the cursor, change colours or reorder what is read becomes an escape such as \\u001b. The macro
    `printable` does the same in dbt.
    """
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in str(text))


def abridged(text: str, longest: int = 80) -> str:
    """Return the beginning of a text that may be of any length, printable."""
    return printable(text[:longest]) + ("..." if len(text) > longest else "")


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns: numbers to the right with thousands separators, everything else to the left."""
    numeric = [all(not isinstance(row[i], str) for row in rows) for i in range(len(header))]
    cells = [
        ["" if value is None else printable(value) if isinstance(value, str) else f"{value:,}" for value in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for line in (header, ["─" * width for width in widths], *cells):
        aligned = (
            f"{text:{'>' if right else '<'}{width}}" for text, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  " + "  ".join(aligned).rstrip())


def main() -> None:
    """Copy what psql prints from stdin to stdout, printable."""
    sys.stdin.reconfigure(encoding="utf-8", errors="replace", newline="\n")
    sys.stdout.reconfigure(encoding="utf-8")
    for line in sys.stdin:
        print(printable(line.removesuffix("\n")))


if __name__ == "__main__":
    from granary.project import run_main  # which imports this module

    run_main(main)
