"""Names and counts as people and the database write them."""

from __future__ import annotations

import re
import unicodedata


def snake_case(name: str) -> str:
    """Return a name as a column is called: `Order ID`, `orderId` and `ORDER-ID` all become order_id."""
    name = unicodedata.normalize("NFKC", name)
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name)
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 1,200 rows."""
    return f"{count:,} {noun}{'s' if count != 1 else ''}"
