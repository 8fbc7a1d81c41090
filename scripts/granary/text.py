"""Names, dates, counts and tables as people and the database write them."""

from __future__ import annotations

import contextlib
import datetime
import re
import unicodedata
from collections.abc import Sequence
from typing import Any


def snake_case(name: str) -> str:
    """Return a name as a column is called: `Order ID`, `orderId` and `ORDER-ID` all become order_id."""
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


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


def print_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print aligned columns: numbers to the right with thousands separators, everything else to the left."""
    numeric = [all(not isinstance(row[i], str) for row in rows) for i in range(len(header))]
    cells = [
        ["" if value is None else value if isinstance(value, str) else f"{value:,}" for value in row] for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    for line in (header, ["─" * width for width in widths], *cells):
        aligned = (
            f"{text:{'>' if right else '<'}{width}}" for text, width, right in zip(line, widths, numeric, strict=True)
        )
        print("  " + "  ".join(aligned).rstrip())
