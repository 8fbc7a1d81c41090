"""How the columns of a raw table can be read: the project's own parse macros are tried on all of its rows."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import sql

from granary import dbt_sql, declared, spelling
from granary.text import counted

# Texts of nothing, in exports.
MARKERS = ("NaN", "nan", "NaT", "\\N", "#N/A", "n/a", "NA", "#DIV/0!", "#REF!", "<NA>", "undefined")
NUMBERS = ("integer", "amount", "price", "number")  # parse types, from the narrowest to the widest
FEWER_YEARS = 3  # times as many years as another reading gives make a reading of dates unlikely
SAMPLE = 2_000  # different values by which readings are ruled out before all values are read
ENOUGH = 0.95  # share of the values that a reading has to read
SHOWN = 3  # examples of values
DAYS = (
    "DD.MM.YYYY", "D.M.YYYY", "D.M.YY", "D/M/YYYY", "M/D/YYYY", "D/M/YY", "M/D/YY", "YY/M/D", "D-M-YYYY", "M-D-YYYY",
    "D-M-YY", "M-D-YY", "YY-M-D", "YY.M.D", "YYYY/MM/DD", "YYYYMMDD", "D Mon YYYY", "Mon D, YYYY", "D-Mon-YYYY",
    "D-Mon-YY",
)  # fmt: skip
TIMES = ("H:mm", "H:mm:ss", "h:mm AM", "h:mmAM", "h:mm:ss AM", "H:mm:ss Z")
OTHER_MOMENTS = ("Ddd, D Mon YYYY HH:mm:ss Z", "Mon D, YYYY, h:mm AM", "YYYY/MM/DD h:mm:ss AM Z")
NAMES = {  # what the name of a column says
    "text": r"(^|_)(id|uuid|guid|key|number|no|nr|code|sku|zip|zipcode|postcode|plz|postal_code|phone|telephone|tel"
    r"|telefon|mobile|fax|barcode|ean|gtin|isbn|iban)$",
    "key": r"(^|_)(id|uuid|guid|key|number|no|nr|code|sku)$",
    "no key": r"(^|_)(zip|post|postal|postcode|plz|phone|telephone|tel|telefon|mobile|fax|e_?mail|country|currency|tax"
    r"|vat|house|bank|area|account)_",
    "money": r"(^|_)(amount|price|total|subtotal|cost|fee|fees|net|gross|tax|taxes|tips|tip|discount|shipping|refund"
    r"|refunded|paid|balance|revenue|sales|value|betrag|preis|brutto|netto|summe|gebuehr|gebuehren|kosten|umsatz"
    r"|montant|prix|importe|precio|importo|prezzo)($|_)",
    "moment": r"(^|_)(date|day|time|at|on|created|updated|timestamp|datum|zeit|epoch|ts)($|_)",
    "currency": r"(^|_)(currency|currency_code|waehrung|waehrungscode|iso_currency|devise|valuta|moneda|divisa|ccy)$",
}
ISO_4217 = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHF CLP CNY COD COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD "
    "HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL "
    "LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR "
    "PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP "
    "TRY TTD TWD TZS UAH UGX USD UYU UZS VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW ZWG "
)
CODES = {*ISO_4217.split()}
WORDS = {"ALL", "CUP", "LAK", "MAD", "MOP", "PEN", "PHP", "SOS", "TOP", "TRY"}  # codes that are words in names, too
LETTERS = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})


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
    header: str = ""  # its name in the files
    values: int = 0  # that aren't null
    read: int = 0
    is_complete: bool = False  # there is a value in each row
    evidence: str = ""
    is_reserved: bool = False  # its name is a word of SQL, or begins with a digit
    is_whole: bool = False  # all its values are whole numbers, written without decimals
    is_numeric: bool = False  # all its values are numbers, not text, in the files, which have types
    is_local: bool = False  # its times have no offset
    is_currency: bool = False  # all its values are codes of currencies
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
            self.is_named_money or "currency" in dict(self.reading.settings)
        )

    @property
    def is_named_money(self) -> bool:
        """Return whether its name says that it holds amounts of money."""
        return says(self.name, "money") or bool(currency_named(self))

    def take(self, setting: str, value: Any) -> None:
        """Add a setting to the reading, or change it; what says the same in another way goes."""
        instead = {other for pair in spelling.EXCLUSIVE if setting in pair for other in pair}
        settings = {name: each for name, each in self.reading.settings if name not in instead} | {setting: value}
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
    for parse in ("amount", "price"):
        for mark in (".", ",", "any"):
            found.append(Reading(parse, (("decimal", mark), ("currency", None))))
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


def read_columns(
    cursor: Any, table: str, headers: Mapping[str, str], numeric: Collection[str], nulls: list[str]
) -> list[Column]:
    """Return how each column of a raw table is best read, given the texts that usually mean nothing there.

    headers: the names in the files, by those of all columns
    numeric: the columns that hold numbers in files with types
    """
    clean, expressions = expressions_of(candidates(), nulls)
    cursor.execute(sql.SQL("select count(*) from raw.{}").format(sql.Identifier(table)))
    ((rows,),) = cursor.fetchall()
    columns = [Column(name, Reading("text"), header) for name, header in headers.items()]
    for column in columns:
        column.is_numeric = column.name in numeric
        read_column(cursor, table, column, rows, clean, expressions)
        column.nulls = [*nulls, *column.nulls] if column.nulls else []
    return columns


def read_column(
    cursor: Any, table: str, column: Column, rows: int, clean: str, expressions: dict[Reading, str]
) -> None:
    """Find out how a column is best read."""
    cursor.execute("drop table if exists pg_temp.delivered, pg_temp.cleaned")
    cursor.execute(
        sql.SQL(
            "create temporary table delivered as select {} as value, count(*) as rows from raw.{} group by 1"
        ).format(sql.Identifier(column.name), sql.Identifier(table))
    )
    cursor.execute(
        f"create temporary table cleaned as select {clean} as value, sum(rows) as rows from delivered group by 1"
    )
    cursor.execute("select coalesce(sum(rows), 0)::bigint from cleaned where value is not null")
    ((values,),) = cursor.fetchall()
    column.values = column.read = values
    column.is_complete = values == rows
    if not values:
        column.is_complete, column.evidence = False, "no values"
        return
    cursor.execute(
        """
        select
            bool_and(value ~ '^[+-]?[0-9]+$'),
            min(value) filter (where value ~ '^0[0-9]+$'),
            bool_and(upper(value) = any(%s)),
            bool_and(value ~ '^[A-Za-z]{3}$')
        from cleaned where value is not null
        """,
        [[*CODES]],
    )
    column.is_whole, padded, are_codes, are_like_codes = cursor.fetchone()
    column.is_currency = are_codes or (are_like_codes and says(column.name, "currency"))
    sampled = f"(select * from cleaned where value is not null limit {SAMPLE})"
    seen = counts(cursor, sampled, expressions)
    likely = {reading: expressions[reading] for reading, (count, of) in seen.items() if count >= ENOUGH * of}
    found = counts(cursor, "(select * from cleaned where value is not null)", likely)
    best = {reading: count for reading, (count, of) in found.items() if count >= ENOUGH * of}
    if padded:
        best = {reading: count for reading, count in best.items() if reading.parse not in NUMBERS}
    if column.is_numeric:
        best = {reading: count for reading, count in best.items() if mark_of(reading) == "."}
    choose(cursor, column, best, expressions)
    if padded and column.reading.parse == "text":
        column.evidence = f"leading zeros, such as {padded}: kept as text"
    if column.reading.parse != "text":
        cursor.execute("select value from delivered where value = any(%s)", [list(MARKERS)])
        column.nulls = [value for (value,) in cursor.fetchall()]


def lacking_at_the_end(cursor: Any, table: str, columns: list[Column]) -> list[str]:
    """Return the columns that have a value in each row but the last ones of files."""
    found = []
    for column in columns:
        query = sql.SQL(
            """
            with ends as (select max(_row_id) as row_id from raw.{table} group by _batch_id)
            select count(*) between 1 and 1 + (select count(*) - 1 from ends)
                and bool_and(_row_id in (select row_id from ends)) and (select count(*) > 2 from raw.{table})
            from raw.{table} where {column} is null or btrim({column}) = ''
            """
        )
        cursor.execute(query.format(table=sql.Identifier(table), column=sql.Identifier(column.name)))
        found += [column.name] if cursor.fetchone()[0] else []
    return found


def counts(cursor: Any, rows: str, expressions: dict[Reading, str]) -> dict[Reading, tuple[int, int]]:
    """Return how many rows each reading reads, and of how many."""
    if not expressions:
        return {}
    sums = ", ".join(f"sum(rows) filter (where ({expression}) is not null)" for expression in expressions.values())
    cursor.execute(f"select sum(rows), {sums} from {rows} as cleaned")
    of, *found = cursor.fetchone()
    return {reading: (int(count or 0), int(of)) for reading, count in zip(expressions, found, strict=True)}


def says(name: str, what: str) -> bool:
    """Return whether the name of a column says that it is text, holds a key, money, a moment or a currency."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(LETTERS))
    return bool(re.search(NAMES[what], "".join(each for each in plain if not unicodedata.combining(each))))


def currency_named(column: Column) -> str:
    """Return the code of the currency that the name of a column has, by its code or its sign; else nothing."""
    signs = declared.project_vars().get("currency_signs") or {}
    found = [code for sign, code in signs.items() if sign in column.header]
    found += [code for part in column.name.split("_") if (code := part.upper()) in CODES - WORDS]
    return found[0] if len({*found}) == 1 else ""


def mark_of(reading: Reading) -> str:
    """Return the decimal mark of a reading: a point, unless it says another."""
    return dict(reading.settings).get("decimal") or "."


def choose(cursor: Any, column: Column, best: dict[Reading, int], expressions: dict[Reading, str]) -> None:
    """Choose among readings that read nearly all values."""
    by_parse = {
        parse: [each for each in best if each.parse == parse] for parse in dict.fromkeys(each.parse for each in best)
    }
    dates = [each for parse in ("date", "timestamp") for each in by_parse.get(parse, [])]
    if says(column.name, "text") and not (dates and says(column.name, "moment")):
        column.evidence = "a key: kept as text" if says(column.name, "key") else "a code: kept as text"
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
    if any(by_parse.get(parse) for parse in NUMBERS):
        choose_number(cursor, column, best, expressions)


def settle_on(column: Column, reading: Reading, best: dict[Reading, int]) -> None:
    """Take a reading, and say how many values it reads."""
    column.reading, column.read = reading, best[reading]
    column.evidence = f"{column.read:,} of {counted(column.values, 'value')} read"


def disagreements(cursor: Any, one: str, other: str) -> int:
    """Return how many rows two readings read as different values."""
    condition = f"({one}) is not null and ({other}) is not null and ({one}) <> ({other})"
    cursor.execute(f"select coalesce(sum(rows), 0)::bigint from cleaned where value is not null and {condition}")
    return cursor.fetchone()[0]


def years(cursor: Any, expression: str) -> int:
    """Return how many different years a reading gives."""
    cursor.execute(f"select count(distinct extract(year from ({expression}))) from cleaned where value is not null")
    return cursor.fetchone()[0]


def choose_moment(
    cursor: Any, column: Column, dates: list[Reading], best: dict[Reading, int], expressions: dict[Reading, str]
) -> None:
    """Choose a format; ask where two read as many values, and read some as different days.

    Of two that find the year in different places, the one with far fewer years is right.
    """
    day, moment = Reading("date"), Reading("timestamp")  # of ISO 8601, which reads either as the other
    if day in dates and moment in dates:
        dates = [
            each
            for each in dates
            if each != (day if disagreements(cursor, expressions[day], expressions[moment]) else moment)
        ]
    most = max(best[each] for each in dates)
    equal, less = [each for each in dates if best[each] == most], ""
    if any(format_of(each).startswith("YY") for each in equal) and len(equal) > 1:
        found = {each: years(cursor, expressions[each]) for each in equal}
        fewest = min(found.values())
        unlikely = [each for each in equal if found[each] >= FEWER_YEARS * fewest]
        equal = [each for each in equal if each not in unlikely]
        if unlikely:
            less = f"; {counted(fewest, 'year')}, where {format_of(unlikely[0])} would give {found[unlikely[0]]}"
    settle_on(column, equal[0], best)
    column.evidence += less
    rivals = [each for each in equal[1:] if disagreements(cursor, expressions[equal[0]], expressions[each])]
    if rivals:
        formats = tuple(format_of(each) for each in (equal[0], *rivals))
        text = f"in which order are day and month? All {counted(most, 'value')} can be read either way"
        column.question = Question(text, formats, "format")
    else:
        for other in dates:
            if best[other] < most and disagreements(cursor, expressions[equal[0]], expressions[other]):
                column.evidence += f"; {format_of(other)} would read {best[other]:,}"
                break
    column.is_local = column.reading.parse == "timestamp" and has_local_times(cursor, format_of(column.reading))


def format_of(reading: Reading) -> str:
    """Return the format of a date or a time."""
    return dict(reading.settings).get("format", "iso")


def has_local_times(cursor: Any, format: str) -> bool:
    """Return whether times have no offset."""
    if format != "iso":
        return "Z" not in format
    cursor.execute("select bool_or(value !~* ':.*(Z|UTC|[+−-])') from cleaned where value is not null")
    return cursor.fetchone()[0]


def choose_number(cursor: Any, column: Column, best: dict[Reading, int], expressions: dict[Reading, str]) -> None:
    """Choose a parse type and a decimal mark; ask where two marks read as many values, and some as different numbers.

    Each mark is tried with the first parse type that reads the most with it. Where the mark is asked, the parse type is
    the wider one, which can read both answers.
    """
    numbers = [each for each in best if each.parse in NUMBERS]
    for each in list(numbers):
        if not each.settings and each.parse in ("amount", "price"):  # which take 0,250 for 250
            pointed = Reading(each.parse, (("decimal", "."),))
            if best.get(pointed, 0) < best[each]:
                numbers.remove(each)
    named = [each for each in numbers if "currency" in dict(each.settings)]
    plain = [each for each in numbers if each not in named and not (each.parse == "integer" and column.is_named_money)]
    if named and max(best[each] for each in named) >= max((best[each] for each in plain), default=0):
        plain = named
    if not plain:
        return
    most = max(best[each] for each in plain)
    by_mark: dict[str, Reading] = {}
    for each in plain:
        if best[each] == most:
            by_mark.setdefault(mark_of(each), each)
    point, comma = by_mark.get("."), by_mark.get(",")
    settle_on(column, point or comma or by_mark["any"], best)
    if point and comma and disagreements(cursor, expressions[point], expressions[comma]):
        wider = max(point, comma, key=lambda each: NUMBERS.index(each.parse))
        column.reading = Reading(wider.parse, tuple(each for each in wider.settings if each[0] != "decimal"))
        text = f"which is the decimal mark? All {counted(most, 'value')} can be read with either"
        column.question = Question(text, (".", ","), "decimal")
    if "currency" in dict(column.reading.settings):
        column.evidence += "".join(f"; {sign} is {code} by currency_signs" for sign, code in signs_in(cursor))


def signs_in(cursor: Any) -> list[tuple[str, str]]:
    """Return the signs of currencies that the values have, with the codes that they stand for."""
    signs = declared.project_vars().get("currency_signs") or {}
    cursor.execute(
        "select sign from unnest(%s) as sign where exists (select from cleaned where strpos(value, sign) > 0)",
        [[*signs]],
    )
    return [(sign, signs[sign]) for (sign,) in cursor.fetchall()]
