"""What people read above a column, and how its values are written: a rule for its name and type, or its meta."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st

from granary.declared import Column

UNITS = {"usd": "USD", "eur": "EUR", "gbp": "GBP", "pct": "%"}
DATE, TIME = "YYYY-MM-DD", "YYYY-MM-DD HH:mm"


def in_words(name: str) -> str:
    """Return the name of a feed or a mart as a title: `fct_daily_visits` is `Daily visits`."""
    return re.sub(r"^(fct|dim)_", "", name).replace("_", " ").capitalize()


def label(column: Column) -> str:
    """Return what people read above a column, with its unit: `net_sales_usd` is `net sales (USD)`."""
    words, unit = column.name.removeprefix("is_").split("_"), ""
    if column.kind == "time":
        unit = "UTC"
        words = words[:-1] if words[1:] and words[-1] == "at" else words
    elif words[1:] and words[-1] in UNITS:
        unit = UNITS[words.pop()]
    elif words[1:] and words[-1] == "count":
        words = plural(words[:-1])
    unit = column.meta.get("unit", unit)
    return str(column.meta.get("label") or " ".join(words)) + (f" ({unit})" if unit else "")


def plural(words: list[str]) -> list[str]:
    """Return the plural of a noun: customer ids, categories; `rows read` is one already."""
    if re.search(r"[^s]s$", words[0]):
        return words
    noun = re.sub(r"(?<=[^aeiou])y$", "ie", words[-1])
    return [*words[:-1], noun + ("es" if re.search(r"(s|x|ch|sh)$", noun) else "s")]


def number_format(column: Column) -> str:
    """Return how a number is written, in the notation of printf, or `percent`."""
    if column.meta.get("format"):
        return str(column.meta["format"])
    if column.kind == "integer":
        return "%d" if re.search(r"(^|_)(id|number|rank|year)$", column.name) else "%,d"
    scale = re.search(r", *(\d+)\)$", column.data_type)
    if column.name.endswith("_pct") or (scale and int(scale[1]) == 2):
        return "%,.2f"
    return f"%,.{scale[1]}f" if scale and int(scale[1]) <= 4 else "%,.10g"


def config(column: Column) -> Any:
    """Return how Streamlit is to show a column."""
    if column.kind == "date":
        return st.column_config.DateColumn(label(column), format=DATE)
    if column.kind == "time":
        return st.column_config.DatetimeColumn(label(column), format=TIME, timezone="UTC")
    if column.kind in ("integer", "number"):
        form = number_format(column)
        return st.column_config.NumberColumn(label(column), format=form, width="medium" if "g" in form else None)
    return st.column_config.Column(label(column))
