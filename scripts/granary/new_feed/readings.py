"""How the columns of a raw table can be read: the project's own parse macros are tried on all of its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import sql

from granary import dbt_sql, declared
from granary.text import counted

MARKERS = ("NaN", "nan", "\\N", "#N/A", "n/a", "NA", "#DIV/0!", "#REF!", "<NA>", "undefined")  # of nothing, in exports
SAMPLE = 2_000  # different values by which readings are ruled out before all values are read
ENOUGH = 0.95  # share of the values that a reading has to read
SHOWN = 3  # examples of values
DAYS = (
    *("DD.MM.YYYY", "D.M.YYYY", "D.M.YY", "D/M/YYYY", "M/D/YYYY", "D/M/YY", "M/D/YY", "D-M-YYYY", "M-D-YYYY"),
    *("YYYY/MM/DD", "YYYYMMDD", "D Mon YYYY", "Mon D, YYYY", "D-Mon-YYYY", "D-Mon-YY"),
)
TIMES = ("H:mm", "H:mm:ss", "h:mm AM", "h:mmAM", "h:mm:ss AM", "H:mm:ss Z")
OTHER_MOMENTS = ("Ddd, D Mon YYYY HH:mm:ss Z", "Mon D, YYYY, h:mm AM")
NAMES = {  # what the name of a column says
    "key": r"(^|_)(id|uuid|key|number|no|nr|code|sku|zip|postcode|plz|postal_code|phone|barcode|ean|iban)$",
    "money": r"(^|_)(amount|price|total|subtotal|cost|fee|fees|net|gross|tax|taxes|tips|tip|discount|shipping|refund"
    r"|refunded|paid|balance|revenue|sales|value|betrag|preis|brutto|netto|summe)($|_)",
    "moment": r"(^|_)(date|day|time|at|on|created|updated|timestamp|datum|zeit|epoch|ts)($|_)",
    "currency": r"(^|_)(currency|currency_code|waehrung|iso_currency)$",
}


@dataclass(frozen=True)
class Reading:
    """A parse type with the settings of a spelling."""

    parse: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        """Return the reading in words."""
        return " ".join([self.parse, *(f"{name} {value}" for name, value in self.settings if value)])

    @property
    def data_type(self) -> str:
        """Return the SQL type as YAML of marts has it."""
        types = {
            "text": "string",
            "email": "string",
            "amount": "numeric(18, 2)",
            "price": "numeric(20, 4)",
            "number": "numeric(38, 18)",
        }
        return types.get(
            self.parse,
            {"integer": "bigint", "epoch_s": "timestamp", "epoch_ms": "timestamp"}.get(self.parse, self.parse),
        )


@dataclass(frozen=True)
class Question:
    """What the data doesn't tell, the answers to choose from, and the setting that they are values of."""

    text: str
    answers: tuple[str, ...]
    setting: str


@dataclass
class Column:
    """How a column is read, and why."""

    name: str
    reading: Reading
    values: int = 0  # that aren't null
    read: int = 0
    is_complete: bool = False  # there is a value in each row
    evidence: str = ""
    is_reserved: bool = False  # its name is a word of SQL, or begins with a digit
    is_whole: bool = False  # all its values are whole numbers
    question: Question | None = None
    nulls: list[str] = field(default_factory=list)  # the texts that mean nothing, if some are not among the usual ones

    @property
    def staged(self) -> str:
        """Return the column's name in staging."""
        return f"column_{self.name}" if self.is_reserved else self.name

    @property
    def is_money(self) -> bool:
        """Return whether it holds amounts of money."""
        return self.reading.parse in ("amount", "price") and (
            says(self.name, "money") or "currency" in dict(self.reading.settings)
        )

    def take(self, setting: str, value: Any) -> None:
        """Add a setting to the reading, or change it."""
        settings = {**dict(self.reading.settings), setting: value}
        self.reading = Reading(self.reading.parse, tuple(settings.items()))


def moments() -> list[str]:
    """Return the formats that are tried."""
    return [*DAYS, *(f"{day} {time}" for day in DAYS for time in TIMES), *OTHER_MOMENTS]


def candidates() -> list[Reading]:
    """Return the readings that are tried; of two that read the same, the first one is taken."""
    found = [Reading("boolean"), Reading("integer")]
    for parse in ("amount", "price", "number"):
        found += [Reading(parse), Reading(parse, (("decimal", "."),)), Reading(parse, (("decimal", ","),))]
        found += [Reading(parse, (("decimal", "any"),))] if parse == "amount" else []
    for mark in (".", ",", "any"):
        found.append(Reading("amount", (("decimal", mark), ("currency", None))))
    found += [Reading("date"), Reading("timestamp"), Reading("epoch_s"), Reading("epoch_ms"), Reading("email")]
    for each in moments():
        found.append(Reading("timestamp" if re.search("[Hh]", each) else "date", (("format", each),)))
    return found


def expressions_of(readings: list[Reading], nulls: list[str]) -> tuple[str, dict[Reading, str]]:
    """Return the SQL of the macros: what cleans `value`, and what reads `cleaned.value`."""
    signs = declared.project_vars().get("currency_signs") or {}
    parts = [f"{{{{ clean_text('value', {[*nulls, *MARKERS]!r}) }}}}"]
    for reading in readings:
        settings = dict(reading.settings)
        has_currency = "currency" in settings
        spelling = {name: value for name, value in settings.items() if value} | (
            {"signs": signs} if has_currency else {}
        )
        column = {
            "name": "value",
            "parse": reading.parse,
            "spelling": spelling,
            "has_currency": has_currency,
            "scale": None,
        }
        value = f"spelled_value({column!r})" if spelling else "column_in('cleaned', 'value')"
        parts.append(f"{{{{ parse_column({column!r}, {value}) }}}}")
    clean, *rest = dbt_sql.compiled(parts)
    return clean, dict(zip(readings, rest, strict=True))


def read_columns(cursor: Any, table: str, names: list[str], nulls: list[str]) -> list[Column]:
    """Return how each column of a raw table is best read, given the texts that usually mean nothing there."""
    clean, expressions = expressions_of(candidates(), nulls)
    cursor.execute(sql.SQL("select count(*) from raw.{}").format(sql.Identifier(table)))
    ((rows,),) = cursor.fetchall()
    columns = [read_column(cursor, table, name, rows, clean, expressions) for name in names]
    for column in columns:
        column.nulls = [*nulls, *column.nulls] if column.nulls else []
    return columns


def read_column(cursor: Any, table: str, name: str, rows: int, clean: str, expressions: dict[Reading, str]) -> Column:
    """Return how a column is best read."""
    cursor.execute("drop table if exists pg_temp.delivered, pg_temp.cleaned")
    cursor.execute(
        sql.SQL(
            "create temporary table delivered as select {} as value, count(*) as rows from raw.{} group by 1"
        ).format(sql.Identifier(name), sql.Identifier(table))
    )
    cursor.execute(
        f"create temporary table cleaned as select {clean} as value, sum(rows) as rows from delivered group by 1"
    )
    cursor.execute("select coalesce(sum(rows), 0)::bigint from cleaned where value is not null")
    ((values,),) = cursor.fetchall()
    if not values:
        return Column(name, Reading("text"), evidence="no values")
    column = Column(name, Reading("text"), values, values, values == rows)
    sampled = f"(select * from cleaned where value is not null limit {SAMPLE})"
    seen = counts(cursor, sampled, expressions)
    likely = {reading: expressions[reading] for reading, (count, of) in seen.items() if count >= ENOUGH * of}
    found = counts(cursor, "(select * from cleaned where value is not null)", likely)
    best = {reading: count for reading, (count, of) in found.items() if count >= ENOUGH * of}
    choose(cursor, column, best, expressions)
    if column.reading.parse != "text":
        cursor.execute("select value from delivered where value = any(%s)", [list(MARKERS)])
        column.nulls = [value for (value,) in cursor.fetchall()]
    return column


def counts(cursor: Any, rows: str, expressions: dict[Reading, str]) -> dict[Reading, tuple[int, int]]:
    """Return how many rows each reading reads, and of how many."""
    if not expressions:
        return {}
    sums = ", ".join(f"sum(rows) filter (where ({expression}) is not null)" for expression in expressions.values())
    cursor.execute(f"select sum(rows), {sums} from {rows} as cleaned")
    of, *found = cursor.fetchone()
    return {reading: (int(count or 0), int(of)) for reading, count in zip(expressions, found, strict=True)}


def says(name: str, what: str) -> bool:
    """Return whether the name of a column says that it holds a key, money, a moment or a currency."""
    return bool(re.search(NAMES[what], name))


def choose(cursor: Any, column: Column, best: dict[Reading, int], expressions: dict[Reading, str]) -> None:
    """Choose among readings that read nearly all values."""
    by_parse = {
        parse: [each for each in best if each.parse == parse] for parse in dict.fromkeys(each.parse for each in best)
    }
    dates = [each for parse in ("date", "timestamp") for each in by_parse.get(parse, [])]
    if says(column.name, "key") and not (dates and says(column.name, "moment")):
        column.evidence = "a key: kept as text"
        return
    if by_parse.get("email"):
        settle_on(column, Reading("email"), best)
        return
    if dates and (says(column.name, "moment") or not by_parse.get("integer")):
        choose_moment(cursor, column, dates, best, expressions)
        return
    for epoch in ("epoch_s", "epoch_ms"):
        if by_parse.get(epoch) and says(column.name, "moment"):
            settle_on(column, Reading(epoch), best)
            return
    if by_parse.get("boolean") and not by_parse.get("integer"):
        settle_on(column, Reading("boolean"), best)
        return
    column.is_whole = best.get(Reading("integer")) == column.values
    if by_parse.get("integer") and not says(column.name, "money"):
        settle_on(column, Reading("integer"), best)
        return
    for parse in ("amount", "price", "number"):
        if by_parse.get(parse):
            choose_number(cursor, column, by_parse[parse], best, expressions)
            return


def settle_on(column: Column, reading: Reading, best: dict[Reading, int]) -> None:
    """Take a reading, and say how many values it reads."""
    column.reading, column.read = reading, best[reading]
    column.evidence = f"{column.read:,} of {counted(column.values, 'value')} read"


def disagreements(cursor: Any, one: str, other: str) -> int:
    """Return how many rows two readings read as different values."""
    condition = f"({one}) is not null and ({other}) is not null and ({one}) <> ({other})"
    cursor.execute(f"select coalesce(sum(rows), 0)::bigint from cleaned where value is not null and {condition}")
    return cursor.fetchone()[0]


def choose_moment(
    cursor: Any, column: Column, dates: list[Reading], best: dict[Reading, int], expressions: dict[Reading, str]
) -> None:
    """Choose a format; ask where two read as many values, and read some as different days."""
    day, moment = Reading("date"), Reading("timestamp")  # of ISO 8601, which reads either as the other
    if day in dates and moment in dates:
        dates = [
            each
            for each in dates
            if each != (day if disagreements(cursor, expressions[day], expressions[moment]) else moment)
        ]
    most = max(best[each] for each in dates)
    equal = [each for each in dates if best[each] == most]
    settle_on(column, equal[0], best)
    rivals = [each for each in equal[1:] if disagreements(cursor, expressions[equal[0]], expressions[each])]
    if rivals:
        formats = tuple(dict(each.settings).get("format", "iso") for each in (equal[0], *rivals))
        text = f"in which order are day and month? All {counted(most, 'value')} can be read either way"
        column.question = Question(text, formats, "format")
        return
    for other in dates:
        if best[other] < most and disagreements(cursor, expressions[equal[0]], expressions[other]):
            less = dict(other.settings).get("format", "iso")
            column.evidence += f"; {less} would read {best[other]:,}"
            break


def choose_number(
    cursor: Any, column: Column, numbers: list[Reading], best: dict[Reading, int], expressions: dict[Reading, str]
) -> None:
    """Choose a decimal mark; ask where two read as many values, and read some as different numbers."""
    named = [each for each in numbers if "currency" in dict(each.settings)]
    plain = [each for each in numbers if each not in named]
    most = max(best[each] for each in plain or named)
    if named and max(best[each] for each in named) >= most:
        plain, most = named, max(best[each] for each in named)
    equal = [each for each in plain if best[each] == most]
    settle_on(column, equal[0], best)
    marks = [dict(each.settings).get("decimal", ".") for each in equal]
    rivals = [
        mark
        for each, mark in zip(equal[1:], marks[1:], strict=True)
        if mark != "any" and disagreements(cursor, expressions[equal[0]], expressions[each])
    ]
    if rivals:
        text = f"which is the decimal mark? All {counted(most, 'value')} can be read with either"
        column.question = Question(text, (marks[0], *rivals), "decimal")
