"""What is expected of the shop's raw tables, in the words of Great Expectations.

What the source declares of each column (dbt/models/staging/shop) becomes expectations by itself; ranges, known values,
and what holds between columns, files and tables are written out at the end. None of dbt's macros is used: this is a
second opinion on the same values, and where the two count differently, one of them is wrong
(tests/test_expectations.py).

An expectation looks at delivered columns, without outer white space, and null (or the column's default) where they hold
a word for nothing; at <column>_read, which is the same as a number, a day or a label; at <column>_amiss, which holds
days that no calendar has; or at one of COMPUTED. Each row also has its `file` and `line`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

from granary.project import GranaryError

# How many values must be as expected. A row without a valid value in a required column is set aside, row by row: where
# that happens to more than one in twenty, it is the file that is broken, and not a row. What staging can do without
# stops nothing, and is worth a look from one in a hundred on.
CRITICAL: Mapping[str, Any] = {"severity": "critical", "mostly": 0.95}
WARNING: Mapping[str, Any] = {"severity": "warning", "mostly": 0.99}

OUTER_SPACE = r"^[\s\u00a0\u200b\ufeff]+|[\s\u00a0\u200b\ufeff]+$"
NOTHING = ("", "-", "N/A", "NULL", "None", "null")

DIGITS = r"([0-9]{1,15}|[0-9]{1,3}(,[0-9]{3}){1,4})(\.[0-9]{1,2})?"
AMOUNT = rf"([+-]?\$?{DIGITS}|\$[+-]{DIGITS}|\(\$?{DIGITS}\)|\$\({DIGITS}\))"

# What `parse` of the source means: a regular expression of PostgreSQL's, and words.
FORMATS = {
    "amount": (f"^{AMOUNT}$", "is an amount, such as $1,000.00"),
    "date": (r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", "is a day, written as 2026-02-03"),
    "discount": (rf"^([0-9]{{1,3}}(\.[0-9]{{1,2}})? ?%|{AMOUNT})$", "is an amount or a share, such as 5.00 or 10%"),
    "email": (r"^[^@\s]+@[^@\s]+\.[^@\s.]+$", "is an e-mail address"),
    "integer": ("^[+-]?[0-9]{1,18}$", "is a whole number"),
    "label": ("[[:alnum:]]", "is a word"),
    "text": (None, ""),
}

# <column>_read, as SQL over {column} where its format is right.
NUMBER = (
    "case when {column} ~ '[(-]' then -1 else 1 end * cast(regexp_replace({column}, '[^0-9.]', '', 'g') as numeric)"
)
READ = {
    "amount": NUMBER,
    "date": "case when pg_input_is_valid({column}, 'date') then cast({column} as date) end",
    "discount": "case when {column} ~ '%' then 0.01 * " + NUMBER + " else " + NUMBER + " end",
    "integer": "cast({column} as bigint)",
    "label": "btrim(regexp_replace(lower({column}), '[^[:alnum:]]+', '_', 'g'), '_')",
}


def unknown(key: str, entity: str) -> str:
    """Return SQL of a key that no row of another table has; null of one that is known, or missing."""
    known = f"select {trimmed(key)} from raw.shop__{entity} where {key} is not null"
    return f"case when {key} not in ({known}) then {key} end"


def trimmed(column: str) -> str:
    """Return SQL of a column without outer white space."""
    return f"regexp_replace({column}, '{OUTER_SPACE}', '', 'g')"


# Further columns, as SQL over those.
COMPUTED: Mapping[str, Mapping[str, str]] = {
    "orders": {
        # What is taken off a line that is worth nothing is far more than the line.
        "discount_share": """discount_read / case
            when discount ~ '%' then 1
            when quantity_read * unit_price_read = 0 then 0.000001
            else abs(quantity_read * unit_price_read)
        end""",
        "kind": "case when quantity_read < 0 then 'return' else 'sale' end",
        "unknown_customer_id": unknown("customer_id", "customers"),
        "unknown_product_id": unknown("product_id", "products"),
    },
}


def query(entity: str, columns: Sequence[Mapping[str, Any]], batch_ids: Sequence[int]) -> str:
    """Return the SQL of the rows of some batches, with the columns that the expectations look at."""
    names = [column["name"] for column in columns]
    delivered = [f"{trimmed(f'delivered.{name}')} as {name}" for name in names]
    cleaned = [f"{without_nothing(column)} as {column['name']}" for column in columns]
    read = []
    for column in columns:
        name, parse = column["name"], column["parse"]
        if parse in READ:
            is_format = f"{name} ~ '{FORMATS[parse][0]}'"
            read.append(f"case when {is_format} then {READ[parse].format(column=name)} end as {name}_read")
        if parse == "date":
            read.append(
                f"case when {is_format} and not pg_input_is_valid({name}, 'date') then {name} end as {name}_amiss"
            )
    computed = [f"{expression} as {name}" for name, expression in COMPUTED.get(entity, {}).items()]
    text = f"""
        select {", ".join(["as_read.*", *computed])}
        from (
            select {", ".join(["cleaned.*", *read])}
            from (
                select file, line, {", ".join(cleaned)}
                from (
                    select
                        batches.path as file,
                        delivered._row_id - batches.first_row_id + 1 as line,
                        {", ".join(delivered)}
                    from raw.shop__{entity} as delivered
                    inner join raw._batches as batches on delivered._batch_id = batches.batch_id
                    where batches.batch_id = any(cast('{{{", ".join(map(str, batch_ids))}}}' as bigint[]))
                    order by delivered._batch_id, delivered._row_id
                ) as trimmed
            ) as cleaned
        ) as as_read
    """
    # Each % stands in a regular expression. On its way through two libraries it would be doubled.
    return text.replace("%", r"\u0025")


def without_nothing(column: Mapping[str, Any]) -> str:
    """Return SQL of a column with its default, or null, in place of a word for nothing."""
    words = ", ".join(f"'{word}'" for word in NOTHING)
    default = "null" if column["default"] is None else "'{}'".format(str(column["default"]).replace("'", "''"))
    return f"case when {column['name']} not in ({words}) then {column['name']} else {default} end"


def suite(entity: str, columns: Sequence[Mapping[str, Any]]) -> list[Expectation]:
    """Return what is expected of a table: that it has rows, what is declared of its columns, what is written below."""
    rows = gxe.ExpectTableRowCountToBeBetween(min_value=1, severity="critical", description="the table has rows")
    derived = [expectation for column in columns for expectation in declared_of(column)]
    return [rows, *derived, *HAND_WRITTEN.get(entity, [])]


def declared_of(column: Mapping[str, Any]) -> list[Expectation]:
    """Return what the source declares of a column: that it is there, that it can be read."""
    name, parse, level = column["name"], column["parse"], CRITICAL if column["required"] else WARNING
    found: list[Expectation] = []
    if column["required"] and column["default"] is None:
        found.append(gxe.ExpectColumnValuesToNotBeNull(column=name, description="is there", **level))
    if parse not in FORMATS:
        raise GranaryError(f"the source shop declares `parse: {parse}` for {name}; add it to FORMATS in {__file__}")
    pattern, words = FORMATS[parse]
    if pattern:
        found.append(gxe.ExpectColumnValuesToMatchRegex(column=name, regex=pattern, description=words, **level))
    if parse == "date":
        found.append(none_in(f"{name}_amiss", name, "is a day of the calendar", level))
    return found


def none_in(column: str, about: str, words: str, level: Mapping[str, Any]) -> Expectation:
    """Expect no value in a column that holds those values of another one that are amiss."""
    return gxe.ExpectColumnValuesToBeNull(column=column, description=words, meta={"column": about}, **level)


def between(column: str, low: Any, high: Any, words: str, level: Mapping[str, Any]) -> Expectation:
    """Expect values of a column from `low` to `high`, both included; None is no limit."""
    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high, description=words, **level)


def once_per_file(*key: str) -> Expectation:
    """Expect that no file has a key twice. Later files may: that is how corrections are delivered."""
    return gxe.ExpectCompoundColumnsToBeUnique(
        column_list=["file", *key],
        ignore_row_if="any_value_is_missing",
        description="comes once in a file",
        **WARNING,
    )


HAND_WRITTEN: Mapping[str, list[Expectation]] = {
    "customers": [
        gxe.ExpectColumnValueLengthsToEqual(column="country_read", value=2, description="has two letters", **WARNING),
        once_per_file("customer_id"),
    ],
    "products": [
        between("unit_price_read", 0, 100_000, "is from 0 to 100,000 USD", WARNING),
        between("unit_cost_read", 0, 100_000, "is from 0 to 100,000 USD", WARNING),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="unit_price_read",
            column_B="unit_cost_read",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            description="do not sell below cost",
            **WARNING,
        ),
        once_per_file("product_id"),
    ],
    "orders": [
        between("quantity_read", -1000, 1000, "is from -1,000 to 1,000", CRITICAL),
        gxe.ExpectColumnValuesToNotBeInSet(column="quantity_read", value_set=[0], description="is not 0", **CRITICAL),
        between("unit_price_read", 0, 100_000, "is from 0 to 100,000 USD", CRITICAL),
        between("discount_read", 0, None, "is not negative", CRITICAL),
        between("discount_share", None, 1, "is no more than the line", CRITICAL),
        between("order_date_read", "2000-01-01", "2099-12-31", "is from 2000 to 2099", CRITICAL),
        gxe.ExpectColumnValuesToBeInSet(
            column="status_read",
            value_set=["placed", "shipped", "delivered", "returned", "cancelled"],
            description="is placed, shipped, delivered, returned or cancelled, in any case",
            **CRITICAL,
        ),
        none_in("unknown_customer_id", "customer_id", "is a customer who was delivered", WARNING),
        none_in("unknown_product_id", "product_id", "is a product that was delivered", WARNING),
        once_per_file("order_id", "product_id", "kind"),
    ],
}
