"""What each parse type reads and what it rejects; and a time that is read has a year that all readers know."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import Database
from granary import declared, rules

pytestmark = pytest.mark.fast

Read = Callable[[str, list[str]], list[Any]]

DAY, TIME, MICROS = "2026-02-03", "2026-02-03 10:02:11", "2026-02-03 10:02:11.123456"
FIRST, LAST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
LARGEST = 9223372036854775807

# By parse type: what is delivered, and the value that it is; None for a value that is rejected.
TABLE: dict[str, dict[str, Any]] = {
    "amount": {
        "200.50": "200.50", "$200.50": "200.50", "1,000.00": "1000.00", "$1,234,567": "1234567.00", "+5": "5.00",
        "-$5": "-5.00", "$-5": "-5.00", "(5.00)": "-5.00", "($5.00)": "-5.00", "$(5.00)": "-5.00",
        ".50": "0.50", "-.5": "-0.50", "$.50": "0.50", "(.50)": "-0.50", "12.500": "12.50", "12.340000": "12.34",
        "1,000.500": "1000.50", "$ 5.00": "5.00", "5.00-": "-5.00", "$5-": "-5.00", "1,000.00-": "-1000.00",
        "−5.00": "-5.00", "$−5": "-5.00", "5.00−": "-5.00", "-0": "0.00",
        "999999999999999.99": "999999999999999.99", "-999999999999999.99": "-999999999999999.99",
        "0,250": None, "-$0,250.00": None,
        "12.345": None, "12.505": None, "1,5": None, "1,00": None, "1.000,00": None, "1 044,90": None, "1e3": None,
        "1_000": None, "NaN": None, "-(5)": None, "-5-": None, "+5-": None, "5.00+": None, "--5": None, "(5": None,
        "(5)-": None, "5.": None, ".": None, "$": None, "12.50 EUR": None, "€12.50": None, "١٢": None, "- 5": None,
        "9999999999999999": None, "1,0000": None, "5$": None, "12.5" + "0" * 20: None,
    },
    "price": {
        "0.0125": "0.0125", "200.50": "200.5000", "12.34500": "12.3450", "-$5": "-5.0000", "1,000.5": "1000.5000",
        "1.23456": None, "1,5": None, "0.00001": None,
    },
    "number": {
        "12": "12", "-0.5": "-0.5", "+5": "5", "1.2e-07": "0.00000012", "1E+3": "1000", ".5": "0.5", "-.5": "-0.5",
        "5-": "-5", "0.5−": "-0.5", "−5": "-5", "−1.5e−3": "-0.0015", "12.0": "12",
        "0.1234567890123456789": "0.123456789012345679", "1e-999": "0",
        "99999999999999999999.999999999999999999": "99999999999999999999.999999999999999999",
        "1,000": None, "1,5": None, "$5": None, "0x10": None, "NaN": None, "Infinity": None, "5.": None, ".": None,
        "1e5-": None, "-5-": None, "5+": None, "1e999": None, "100000000000000000000": None, "1e20": None,
        "1_0": None,
        "99999999999999999999.9999999999999999995": None, "９": None,
    },
    "integer": {
        "12": 12, "-3": -3, "+3": 3, "007": 7, "12.0": 12, "-12.000": -12, "5-": -5, "5.0-": -5, "−5": -5, "−5.0": -5,
        "1413617112501850121": 1413617112501850121, str(LARGEST): LARGEST, str(-LARGEST - 1): -LARGEST - 1,
        f"{LARGEST}.0": LARGEST, f"{LARGEST}-": -LARGEST,
        str(LARGEST + 1): None, str(-LARGEST - 2): None, "9" * 19: None, "1" * 20: None, f"{LARGEST + 1}.0": None,
        "3.5": None, "12.01": None, "12.": None, ".0": None, "1e3": None, "1,000": None, "-5-": None, "0x10": None,
        "1_000": None, "٣": None,
    },
    "date": {
        "2026-02-03": DAY, "2026-02-03T00:00": DAY, "2026-02-03 23:59:59.999999": DAY, "2026-02-03 10:02 UTC": DAY,
        "2026-02-03T00:30:00+02:00": "2026-02-02", "2026-02-02T23:30:00-02:00": DAY,
        "0001-01-01": "0001-01-01", "9999-12-31": "9999-12-31", "2024-02-29": "2024-02-29",
        "2026-02-30": None, "2025-02-29": None, "2026-02-30T00:00": None, "03/02/2026": None, "20260203": None,
        "2026-2-3": None, "0000-01-01": None, "10000-01-01": None, "0001-01-01T00:00+02:00": None, "infinity": None,
        "9999-12-31T23:00-02:00": None, "2026-02-03 BC": None, "2026-02": None, "today": None, "46056": None,
    },
    "epoch_ms": {
        "1770076800000": "2026-02-03 00:00:00", "1770076800123": "2026-02-03 00:00:00.123000",
        "1770076800000.0": "2026-02-03 00:00:00", "100000000000": "1973-03-03 09:46:40",
        "99999999999999": "5138-11-16 09:46:39.999000",
        "1770076800000.1239": "2026-02-03 00:00:00.000123", "-100000000000": "1966-10-31 14:13:20",
        "-9999999999999": "1653-02-10 06:13:20.001000",
        "1770076800": None, "99999999999": None, "100000000000000": None, "-99999999999": None, "0": None,
        "+1770076800000": None,
        "-10000000000000": None, "1770076800.0": None, "2026-02-03": None, "1.7700768e12": None,
        "1,770,076,800,000": None,
    },
    "epoch_s": {
        "1770076800": "2026-02-03 00:00:00", "1355517523.000005": "2012-12-14 20:38:43.000005",
        "1770076800.0": "2026-02-03 00:00:00", "100000000": "1973-03-03 09:46:40",
        "1770076800.9999999": "2026-02-03 00:00:00.999999", "-100000000": "1966-10-31 14:13:20",
        "99999999999": "5138-11-16 09:46:39", "-9999999999": "1653-02-10 06:13:21",
        "99999999": None, "1770076800000": None, "100000000000": None, "0": None, "-1": None, "1.7700768e9": None,
        "2026-02-03": None, "1770076800.": None, "10:00": None,
    },
    "timestamp": {
        "2026-02-03": "2026-02-03 00:00:00", "2026-02-03T10:02:11": TIME, "2026-02-03 10:02:11": TIME,
        "2026-02-03T10:02": "2026-02-03 10:02:00", "2026-02-03 10:02:11.123456Z": MICROS,
        "2026-02-03 10:02:11 Z": TIME,
        "2026-02-03T12:02:11+02:00": TIME, "2026-02-03T12:02:11+0200": TIME, "2026-02-03T05:02:11-05": TIME,
        "2026-02-03 10:02:11 UTC": TIME, "2026-02-03 10:02:11.123456 UTC": MICROS, "2026-02-03T10:02:11utc": TIME,
        "2026-02-03t10:02:11z": TIME, "2026-02-03 10:02:11,123456": MICROS,
        "2026-02-03 10:02:11,123456+00:00": MICROS,
        "2026-02-03T05:02:11−05:00": TIME, "2026-02-03T10:02:11.1234569": MICROS,
        "2026-02-03T10:02:11,1234569999Z": MICROS,
        "2026-12-31T23:59:59.9999999Z": "2026-12-31 23:59:59.999999",
        "0001-01-01": FIRST, "0001-01-01T00:00:00Z": FIRST, "0001-01-01T02:00:00+02:00": FIRST,
        "0001-01-01T00:00-02:00": "0001-01-01 02:00:00",
        "9999-12-31T23:59:59.9999999": LAST, "9999-12-31T21:59:59.999999-02:00": LAST,
        "9999-12-31T23:59:59.999999 UTC": LAST,
        "0001-01-01T00:00:00+02:00": None, "0001-01-01t01:59:59.999999+02:00": None,
        "9999-12-31T23:59:59-02:00": None,
        "9999-12-31 22:00:00−02:00": None, "0000-12-31T23:00:00-02:00": None, "0000-01-01": None,
        "10000-01-01T00:00:00Z": None, "2026-02-03 BC": None, "infinity": None, "-infinity": None, "now": None,
        "03/02/2026": None, "2026-02-30": None, "2026-02-30 10:00 UTC": None, "20260203": None,
        "2026-02-03 10:00 CET": None, "2026-02-03 10:00 GMT+2": None, "2026-02-03 10:00 UTC+2": None,
        "2026-02-03 24:00:00": None, "2026-02-03T10:02:60Z": None, "2026-02-03T10:02:11+15:00": None,
        "2026-02-03T10:02:11.": None, "2026-02-03T10:02:11,": None, "2026-02-03Z": None, "2026-02-03 UTC": None,
        "2026-02-03T10:02:11 Z UTC": None, "2026-02-03 10:02 PM": None, "yesterday": None,
    },
    "boolean": {
        "true": True, "T": True, "Yes": True, "y": True, "1": True, "1.0": True,
        "FALSE": False, "f": False, "no": False, "N": False, "0": False, "0.0": False,
        "maybe": None, "2": None, "on": None, "-1": None, "10": None,
    },
    "discount": {
        "10%": "10%", "12.5 %": "12.5%", "$5": "5.00", "5.00-": "-5.00", ".50": "0.50",
        "ten percent": None, "1000%": None, "-5%": None, "12,5%": None,
    },
    "email": {
        "mara@example.org": "mara@example.org",
        "mara.lind(at)example.org": None, "nobody@": None, "a b@example.org": None, "a@b": None,
    },
    "label": {"Viewed Product Page": "viewed_product_page", "VIEWED_PRODUCT_PAGE": "viewed_product_page", "?!": None},
    "text": {"a  b": "a  b", "n/a": "n/a", "N/A": None, "NULL": None, "None": None, "null": None, "-": None, "": None},
}  # fmt: skip

# Whitespace, and characters that nobody sees, around a value: all of them mean nothing there.
AROUND = (
    " \t\n\r\f\v\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
    "\u202f\u205f\u3000\u200b\u2060\ufeff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


PARSERS = sorted((declared.project.ROOT / "dbt" / "macros" / "parsing").glob("parse_*.sql"))
TYPES = [path.stem.removeprefix("parse_") for path in PARSERS]


def view_of_texts(database: Database, engine: str = "postgres") -> str:
    """Return SQL that creates a temporary table `texts` and the view `parsed`, in which each parse type reads them."""
    calls = ", ".join(f"{{{{ parse_{name}('cleaned') }}}} as {name}_read" for name in TYPES)
    cleaned = "(select place, {{ clean_text('delivered') }} as cleaned from texts) as texts"
    query = ("--inline", f"select place, {calls} from {cleaned}")
    compiled = database.run("bin/dbt", "--quiet", "compile", "--target", engine, *query)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    table = "create temporary table texts (delivered text, place bigint)"
    return f"{table}; create temporary view parsed as {compiled.stdout}"


def postgres_reader(database: Database) -> Iterator[Read]:
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(view_of_texts(database))

        def values(parse: str, delivered: list[str]) -> list[Any]:
            cursor.execute("truncate texts")
            cursor.execute("insert into texts select * from unnest(%s) with ordinality", [delivered])
            cursor.execute(f"select {parse}_read from parsed order by place")
            return [value for (value,) in cursor.fetchall()]

        yield values


def duckdb_reader(database: Database) -> Iterator[Read]:
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.execute(view_of_texts(database, "duckdb"))

        def values(parse: str, delivered: list[str]) -> list[Any]:
            connection.execute("truncate texts")
            connection.execute("insert into texts select unnest($1), unnest(range(len($1)))", [delivered])
            connection.execute(f"select {parse}_read from parsed order by place")
            return [value for (value,) in connection.fetchall()]

        yield values


@pytest.fixture(scope="module")
def readers(new_database: Callable[[], Database]) -> Iterator[dict[str, Read]]:
    """Give functions that return the values that a parse type reads in delivered texts, by engine."""
    database, found = new_database(), {"postgres": postgres_reader, "duckdb": duckdb_reader}
    with contextlib.ExitStack() as stack:
        yield {
            engine: stack.enter_context(contextlib.contextmanager(reader)(database)) for engine, reader in found.items()
        }


@pytest.fixture(scope="module", params=["postgres", "duckdb"])
def read(readers: dict[str, Read], request: pytest.FixtureRequest) -> Read:
    """Give the function of each engine."""
    return readers[request.param]


def typed(parse: str, value: Any) -> Any:
    """Return a value of the table as Python holds it."""
    if parse in ("amount", "number", "price"):
        return Decimal(value)
    if parse == "date":
        return datetime.date.fromisoformat(value)
    return datetime.datetime.fromisoformat(value) if parse in ("epoch_ms", "epoch_s", "timestamp") else value


def test_the_table_has_each_parse_type() -> None:
    assert sorted(TABLE) == TYPES


def test_a_parse_type_returns_the_sql_type_that_its_macro_declares(new_database: Callable[[], Database]) -> None:
    database = new_database()
    types = "select attname, format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'parsed'::regclass"
    found = {name.removesuffix("_read"): kind for name, kind in database.query(f"{view_of_texts(database)}; {types}")}
    del found["place"]
    names = {"timestamp without time zone": "timestamp", "character varying": "text"}
    declared_types = {name: kind.replace(", ", ",") for name, kind in rules.types_read().items()}
    assert {name: names.get(kind, kind) for name, kind in found.items()} == declared_types


@pytest.mark.parametrize("parse", TABLE)
def test_a_parse_type_reads_what_is_unambiguous_and_nothing_else(read: Read, parse: str) -> None:
    values = {text: None if value is None else typed(parse, value) for text, value in TABLE[parse].items()}
    assert dict(zip(values, read(parse, list(values)), strict=True)) == values


@pytest.mark.parametrize("parse", TABLE)
def test_what_nobody_sees_around_a_value_means_nothing(read: Read, parse: str) -> None:
    text, value = next(iter(TABLE[parse].items()))
    around = [before + text + after for one in AROUND for before, after in ((one, ""), ("", one), (one * 2, " " + one))]
    assert set(read(parse, around)) == {typed(parse, value)}
    assert read("text", [f"a{one}b" for one in AROUND]) == [f"a{one}b" for one in AROUND], "inside, it stays"
    assert set(read("text", [*AROUND, AROUND])) == {None}


@pytest.mark.parametrize("parse", ["label", "email", "text"])
def test_any_character_is_read_alike_by_all_engines(readers: dict[str, Read], parse: str) -> None:
    """Of the characters that Python knows: engines don't all know the latest letters, which have a lower case."""
    characters = [chr(point) for point in range(1, 0x20000) if unicodedata.category(chr(point)) not in ("Cn", "Cs")]
    texts = [text.format(character) for text in ("a{}b@c.de", "{} 1", "a{0}{0}") for character in characters]
    values = readers["postgres"](parse, texts)
    different = [
        text for text, one, other in zip(texts, values, readers["duckdb"](parse, texts), strict=True) if one != other
    ]
    assert different == []
    assert len(set(values)) > 50_000


def spelled(time: datetime.datetime, offset: int, style: tuple[str, str, str]) -> str:
    """Return a local time with its offset in minutes, in one of the spellings."""
    between, point, colon = style
    sign, (hours, minutes) = "+" if offset >= 0 else "-", divmod(abs(offset), 60)
    date, clock = time.isoformat(timespec="microseconds").split("T")
    return f"{date}{between}{clock.replace('.', point)}{sign}{hours:02}{colon}{minutes:02}"


BEGIN, END = (datetime.datetime.fromisoformat(text) for text in ("0001-01-02", "9999-12-31"))
LOCAL = st.datetimes() | st.datetimes(max_value=BEGIN) | st.datetimes(min_value=END)
STYLES = st.tuples(st.sampled_from("Tt "), st.sampled_from(".,"), st.sampled_from([":", ""]))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(LOCAL, st.integers(-14 * 60, 14 * 60), STYLES), min_size=1))
def test_a_time_is_read_in_utc_or_rejected_where_utc_has_no_such_year(read: Read, times: list[tuple]) -> None:
    in_utc = []
    for local, offset, _ in times:
        try:
            in_utc.append(local - datetime.timedelta(minutes=offset))
        except OverflowError:
            in_utc.append(None)
    delivered = [spelled(*time) for time in times]
    assert read("timestamp", delivered) == in_utc
    assert read("date", delivered) == [time and time.date() for time in in_utc]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-(2**65), 2**65) | st.integers(-(10**15), 10**15), min_size=1))
def test_a_whole_number_is_read_exactly_or_rejected(read: Read, numbers: list[int]) -> None:
    minus_last = [f"{-number}-" if number < 0 else f"{number}.00" for number in numbers]
    assert read("integer", [*map(str, numbers), *minus_last]) == 2 * [
        number if -LARGEST - 1 <= number <= LARGEST else None for number in numbers
    ]
    start = datetime.datetime.fromisoformat("1970-01-01")
    for parse, unit, digits in (("epoch_ms", 10**3, (12, 14)), ("epoch_s", 10**6, (9, 11))):
        times = [
            start + datetime.timedelta(microseconds=number * unit)
            if digits[0] <= len(str(abs(number))) <= digits[1] - (number < 0)
            else None
            for number in numbers
        ]
        assert read(parse, list(map(str, numbers))) == times


PARTS = [
    *"0123456789+-−.,:$()% TtZzeE",
    "UTC",
    "0000",
    "0001-01-01",
    "9999-12-31",
    "T23:59:59.9999999",
    "-12:00",
    "99999",
]
NEARLY = st.lists(st.sampled_from(PARTS), max_size=8).map("".join)


@settings(deadline=None, max_examples=50)
@given(st.lists(NEARLY | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_any_text_is_read_or_rejected_and_never_an_error(read: Read, texts: list[str]) -> None:
    for parse in TYPES:
        for value in read(parse, texts):  # which psycopg2 can hold, or it raises
            assert not isinstance(value, Decimal) or value.is_finite()


@pytest.mark.parametrize("parse", [parse for parse in TABLE if parse != "text"])
def test_the_second_opinion_of_the_expectations_is_the_same(new_database: Callable[[], Database], parse: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of Great Expectations about itself
        from granary.reports import expected
    database, texts = new_database(), [f"{one}{text}{one}" for one, text in zip(itertools.cycle(AROUND), TABLE[parse])]
    create = """
        create schema raw;
        create table raw._batches as select 1 as batch_id, 'a file' as path, 1 as first_row_id;
        create table raw.texts as
        select delivered, 1 as _batch_id, _row_id from unnest(%s) with ordinality as texts (delivered, _row_id);
    """
    database.query(create, [texts])
    rows = expected.query("texts", [{"name": "delivered", "parse": parse, "default": None}], {}, [1])
    impossible = "delivered_impossible" if parse in expected.POSSIBLE else "null"
    found = f"select coalesce(delivered ~ %s and {impossible} is null, false) from ({rows}) as texts order by line"
    is_read = [is_read for (is_read,) in database.query(found, [expected.FORMATS[parse][0]])]
    assert dict(zip(texts, is_read, strict=True)) == {
        text: value is not None for text, value in zip(texts, TABLE[parse].values(), strict=True)
    }
