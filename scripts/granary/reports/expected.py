"""What is expected of a raw table, in the words of Great Expectations.

What a source declares of a column (`parse`, `default`, `required`) is expected of it as it is. A feed adds
ranges, known values, and what holds between columns, files and tables in scripts/granary/feeds/<feed>/expectations.py:

    EXPECTATIONS   by table, a list of expectations
    COMPUTED       by table, further columns to look at, as SQL over those below (optional)

Expectations look at the delivered columns, without outer white space, and null (or the column's default) where they
hold a word for nothing; at <column>_read, the same as a number, date or label; at <column>_impossible, values such as
dates that no calendar has; and at COMPUTED. Each row also has its `file` and `line`. None of dbt's macros is used: this
is a second opinion on the same values, and where the two differ, one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

from granary.project import GranaryError

# The share of values that must be as expected. Staging rejects single rows without a valid value in a required column;
# if more than one in twenty is affected, the file is broken. Other columns stop nothing, and deserve a look from one in
# a hundred on.
CRITICAL: Mapping[str, Any] = {"severity": "critical", "mostly": 0.95}
WARNING: Mapping[str, Any] = {"severity": "warning", "mostly": 0.99}

QUERY = Path(__file__).with_name("templates") / "expected.sql"
# White space of any kind, zero-width characters, and marks of direction: \s alone depends on the server's language.
INVISIBLE = (
    r"\s\u0085\u00a0\u1680\u2000-\u200b\u2028\u2029\u202f\u205f\u2060\u3000\ufeff"
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
)
OUTER_SPACE = rf"^[{INVISIBLE}]+|[{INVISIBLE}]+$"

# What `parse` of a source means: a regular expression of PostgreSQL's, and words. A minus may be that of typography.
DECIMALS = r"\.[0-9]{1,2}0{0,18}"
DIGITS = rf"(([0-9]{{1,15}}|[1-9][0-9]{{0,2}}(,[0-9]{{3}}){{1,4}})({DECIMALS})?|{DECIMALS})"
AMOUNT = rf"([+−-]?(\$ ?)?{DIGITS}|\$[+−-]{DIGITS}|(\$ ?)?{DIGITS}[−-]|\((\$ ?)?{DIGITS}\)|\$\({DIGITS}\))"
PRICE = AMOUNT.replace("{1,2}", "{1,4}")
NUMBER, WHOLE = r"([0-9]+(\.[0-9]+)?|\.[0-9]+)", r"[0-9]{1,19}(\.0{1,18})?"
FRACTION = r"(\.[0-9]{1,9})?"
DAY = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.,][0-9]+)?)?"
TIME = rf"{CLOCK}( ?([Zz]|UTC|utc|[+−-](0[0-9]|1[0-4])(:?[0-5][0-9])?))?"
FORMATS = {
    "amount": (f"^{AMOUNT}$", "is an amount, such as $1,000.00"),
    "boolean": (r"(?i)^(true|t|yes|y|1(\.0)?|false|f|no|n|0(\.0)?)$", "is true or false"),
    "date": (f"^{DAY}([Tt ]{TIME})?$", "is a day, written as 2026-02-03"),
    "discount": (rf"^([0-9]{{1,3}}(\.[0-9]{{1,2}})? ?%|{AMOUNT})$", "is an amount or a share, such as 5.00 or 10%"),
    "email": (r"^[^@\s]+@[^@\s]+\.[^@\s.]+$", "is an e-mail address"),
    "epoch_ms": (f"^([0-9]{{12,14}}|-[0-9]{{12,13}}){FRACTION}$", "is a number of milliseconds"),
    "epoch_s": (f"^([0-9]{{9,11}}|-[0-9]{{9,10}}){FRACTION}$", "is a number of seconds"),
    "integer": (f"^([+−-]?{WHOLE}|{WHOLE}[−-])$", "is a whole number"),
    "label": ("[[:alnum:]]", "is a word"),
    "number": (rf"^([+−-]?{NUMBER}([eE][+−-]?[0-9]{{1,3}})?|{NUMBER}[−-])$", "is a number"),
    "price": (f"^{PRICE}$", "is an amount with up to four decimals, such as 0.0125"),
    "text": (None, ""),
    "timestamp": (f"^{DAY}([Tt ]{TIME})?$", "is a time, such as 2026-02-03T10:15:00Z"),
}

# What a value whose format is right may still not be; <column>_impossible holds those that are not.
POSSIBLE = {
    "date": "is a day of the calendar",
    "integer": "fits 64 bits",
    "number": "has at most 20 digits before its point",
    "timestamp": "is a day of the calendar",
}


def query(
    table: str, columns: Sequence[Mapping[str, Any]], computed: Mapping[str, str], batch_ids: Sequence[int]
) -> str:
    """Return the SQL of the rows of some batches, with the columns that expectations look at."""
    template = jinja2.Template(QUERY.read_text("utf-8"), trim_blocks=True, undefined=jinja2.StrictUndefined)
    meaning = {"formats": FORMATS, "possible": POSSIBLE, "trim": trim}
    text = template.render(table=table, columns=columns, computed=computed, batch_ids=batch_ids, **meaning)
    # Each % stands in a regular expression. On its way through two libraries it would be doubled.
    return text.replace("%", r"\u0025")


def suite(columns: Sequence[Mapping[str, Any]], more: Sequence[Expectation]) -> list[Expectation]:
    """Return what is expected of a table: that it has rows, what is declared of its columns, and `more`."""
    expected: list[Expectation] = [
        gxe.ExpectTableRowCountToBeBetween(min_value=1, severity="critical", description="the table has rows")
    ]
    for column in columns:
        name, parse, level = column["name"], column["parse"], CRITICAL if column["required"] else WARNING
        if parse not in FORMATS:
            raise GranaryError(f"the column {name} declares `parse: {parse}`: add its format to FORMATS in {__file__}")
        if column["required"] and column["default"] is None:
            expected.append(gxe.ExpectColumnValuesToNotBeNull(column=name, description="is there", **level))
        pattern, words = FORMATS[parse]
        if pattern:
            expected.append(gxe.ExpectColumnValuesToMatchRegex(column=name, regex=pattern, description=words, **level))
        if parse in POSSIBLE:
            expected.append(no_values(f"{name}_impossible", name, POSSIBLE[parse], level))
    return [*expected, *more]


# -- For the expectations of a feed ------------------------------------------------------------------------------------


def no_values(column: str, about: str, words: str, level: Mapping[str, Any]) -> Expectation:
    """Expect no values in `column`, which holds the unexpected ones of the column `about`."""
    return gxe.ExpectColumnValuesToBeNull(column=column, description=words, meta={"column": about}, **level)


def between(column: str, low: Any, high: Any, words: str, level: Mapping[str, Any]) -> Expectation:
    """Expect values of a column from `low` to `high`, both included; None means no limit."""
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, description=words, **level)


def once_per_file(*key: str) -> Expectation:
    """Expect that no file has a key twice. Later files may: that is how corrections are delivered."""
    options = {"ignore_row_if": "any_value_is_missing", "description": "comes once in a file"}
    return gxe.ExpectCompoundColumnsToBeUnique(column_list=["file", *key], **options, **WARNING)


def unknown(key: str, table: str) -> str:
    """Return SQL of a key that no row of another raw table has; null of one that is known, or missing."""
    return f"case when {key} not in (select {trim(key)} from raw.{table} where {key} is not null) then {key} end"


def trim(column: str) -> str:
    """Return SQL of a column without outer white space."""
    return f"regexp_replace({column}, '{OUTER_SPACE}', '', 'g')"
