"""Values in a declared spelling: each is read as what it says, or not at all, on PostgreSQL and on DuckDB."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import re
import zoneinfo
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from conftest import Database
from granary import declared, spelling
from own_feed import copy_with_own_feed

Read = Callable[[str, list[tuple[str | None, str | None]]], list[Any]]
SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "kr": "SEK"}

# Columns as their YAML declares them, by a name for this module.
COLUMNS: dict[str, dict[str, Any]] = {
    "german_day": {"parse": "date", "spelling": {"format": "DD.MM.YYYY"}},
    "short_day": {"parse": "date", "spelling": {"format": ["D/M/YY", "D Mon YYYY", "YYYYMMDD"]}},
    "american": {"parse": "timestamp", "spelling": {"format": ["M/D/YYYY h:mm AM", "M/D/YYYY"]}},
    "mail": {"parse": "timestamp", "spelling": {"format": "Ddd, D Mon YYYY HH:mm:ss Z"}},
    "stored": {"parse": "timestamp", "spelling": {"format": ["excel", "iso"]}},
    "epoch": {"parse": "timestamp", "spelling": {"format": ["epoch_s", "iso"]}},
    "berlin": {"parse": "timestamp", "timezone": "Europe/Berlin"},
    "berlin_epoch": {
        "parse": "timestamp",
        "timezone": "Europe/Berlin",
        "spelling": {"format": ["epoch_ms", "excel", "iso"]},
    },
    "howe": {"parse": "timestamp", "timezone": "Australia/Lord_Howe"},
    "troll": {"parse": "timestamp", "timezone": "Antarctica/Troll"},  # two hours are left out, and come twice
    "by_zone": {"parse": "timestamp", "timezone_from": "other"},
    "offset": {"parse": "timestamp", "spelling": {"offset_from": "other"}},
    "comma": {"parse": "amount", "spelling": {"decimal": ","}},
    "point": {"parse": "amount", "spelling": {"decimal": "."}},
    "mixed": {"parse": "amount", "spelling": {"decimal": "any"}},
    "thousandths": {"parse": "amount", "scale": 3, "spelling": {"decimal": ","}},
    "cents": {"parse": "amount", "spelling": {"minor_units": 2}},
    "parts": {
        "parse": "amount",
        "scale": 3,
        "has_currency": True,
        "spelling": {"minor_units": "currency", "currency_from": "other", "signs": SIGNS},
    },
    "comma_number": {"parse": "number", "spelling": {"decimal": ","}},
    "euro": {"parse": "amount", "has_currency": True, "spelling": {"decimal": ",", "currency": "EUR", "signs": SIGNS}},
    "any_currency": {"parse": "amount", "has_currency": True, "spelling": {"decimal": "any", "signs": SIGNS}},
    "by_column": {"parse": "amount", "has_currency": True, "spelling": {"currency_from": "other", "signs": SIGNS}},
}

TABLE: dict[str, dict[str | tuple[str, str | None], Any]] = {
    "german_day": {
        "31.12.2026": "2026-12-31", "03.02.2026": "2026-02-03", "29.02.2024": "2024-02-29",
        "3.2.2026": None, "31.02.2026": None, "2026-12-31": None, "12/31/2026": None, "31.12.26": None,
        "31.13.2026": None,         "31.12.2026 10:00": None, "31-12-2026": None, "3112.2026": None,
    },
    "short_day": {
        "3/2/26": "2026-02-03", "13/02/69": "1969-02-13", "01/01/68": "2068-01-01", "20260203": "2026-02-03",
        "3 Feb 2026": "2026-02-03", "3 FEBRUARY 2026": "2026-02-03", "3 Sept. 2026": "2026-09-03",
        "1 may 2026": "2026-05-01",        "2/13/26": None, "3 Febr 2026": None,
        "30 Feb 2026": None, "20260230": None,
        "3/2/2026": None, "3 2 2026": None,
    },
    "american": {
        "2/3/2026 4:05 PM": "2026-02-03 16:05:00", "12/31/2026 12:00 am": "2026-12-31 00:00:00",
        "12/31/2026 12:30 P.M.": "2026-12-31 12:30:00", "02/03/2026 04:05 a.m.": "2026-02-03 04:05:00",
        "2/3/2026": "2026-02-03 00:00:00",
        "13/3/2026": None, "2/3/2026 16:05": None, "2/3/2026 0:05 AM": None, "2/3/2026 4:60 PM": None,
        "2/30/2026": None,
    },
    "mail": {
        "Tue, 3 Feb 2026 10:02:11 +0100": "2026-02-03 09:02:11", "Tue, 03 Feb 2026 10:02:11 UTC": "2026-02-03 10:02:11",
        "Tue, 3 Feb 2026 10:02:11 GMT": "2026-02-03 10:02:11", "Tue, 3 Feb 2026 10:02:11 GMT+1": "2026-02-03 09:02:11",
        "Tue, 3 Feb 2026 10:02:11 GMT-05:00": "2026-02-03 15:02:11",
        "Tue, 3 Feb 2026 10:02:11 GMT+5:30": "2026-02-03 04:32:11",
        "Tue, 3 Feb 2026 10:02:11 gmt+11": "2026-02-02 23:02:11", "Tue, 3 Feb 2026 10:02:11 GMT+15": None,
        "Tue, 3 Feb 2026 10:02:11 GMT1": None,
        "3 Feb 2026 10:02:11 +0100": None, "Tue, 3 Feb 2026 10:02:11": None, "Tue, 3 Feb 2026 10:02:11 CET": None,
    },
    "stored": {
        "46056": "2026-02-03 00:00:00", "46056.41818287037": "2026-02-03 10:02:11", "46056.5": "2026-02-03 12:00:00",
        "61": "1900-03-01 00:00:00", "2958465": "9999-12-31 00:00:00", "2026-02-03 10:00": "2026-02-03 10:00:00",
        "60": None, "2958466": None, "-1": None, "46056,5": None, "46056.": None,
    },
    "epoch": {
        "1770112931": "2026-02-03 10:02:11", "2026-02-03T10:02:11Z": "2026-02-03 10:02:11", "1770112931000": None,
        "03.02.2026": None,
    },
    "berlin": {
        "2026-02-03 10:00": "2026-02-03 09:00:00", "2026-07-03 10:00": "2026-07-03 08:00:00",
        "2026-02-03T10:00:00Z": "2026-02-03 10:00:00", "2026-02-03 10:00+05:00": "2026-02-03 05:00:00",
        "2026-02-03": "2026-02-02 23:00:00",
        "2026-03-29 01:59:59": "2026-03-29 00:59:59", "2026-03-29 02:30": None,
        "2026-03-29 03:00": "2026-03-29 01:00:00",
        "2026-10-25 02:30": "2026-10-25 00:30:00", "2026-10-25 03:00": "2026-10-25 02:00:00",
        "2026-10-25 01:59:59": "2026-10-24 23:59:59",
    },
    "berlin_epoch": {
        "1770112931000": "2026-02-03 10:02:11", "46056.5": "2026-02-03 11:00:00",
        "2026-02-03 12:00": "2026-02-03 11:00:00",
    },
    "howe": {
        "2026-04-05 01:45": "2026-04-04 14:45:00", "2026-04-05 01:15": "2026-04-04 14:15:00",
        "2026-04-05 02:00": "2026-04-04 15:30:00", "2026-10-04 02:15": None,
    },
    "by_zone": {
        ("2026-02-03 10:00", "Europe/Berlin"): "2026-02-03 09:00:00",
        ("2026-02-03", "Asia/Tokyo"): "2026-02-02 15:00:00",
        ("2026-07-03 10:00", " America/New_York "): "2026-07-03 14:00:00",
        ("2026-02-03 10:00", "UTC"): "2026-02-03 10:00:00", ("2026-02-03 10:00", "US/Eastern"): "2026-02-03 15:00:00",
        ("2026-02-03 10:00", "Etc/GMT+5"): "2026-02-03 15:00:00",
        ("2026-02-03 10:00", "America/Port-au-Prince"): "2026-02-03 15:00:00",
        ("2026-02-03 10:00", "America/Argentina/Buenos_Aires"): "2026-02-03 13:00:00",
        ("2026-03-29 02:30", "Europe/Berlin"): None, ("2026-03-29 02:30", "Europe/London"): "2026-03-29 01:30:00",
        ("2026-10-25 02:30", "Europe/Berlin"): "2026-10-25 00:30:00",
        ("2026-04-05 01:45", "Australia/Lord_Howe"): "2026-04-04 14:45:00",
        ("2026-10-04 02:15", "Australia/Lord_Howe"): None, ("2026-02-03 10:00Z", "Mars/Base"): "2026-02-03 10:00:00",
        ("2026-02-03 10:00+05:00", None): "2026-02-03 05:00:00", ("2026-02-03 10:00", None): None,
        ("2026-02-03 10:00", "N/A"): None, ("2026-02-03 10:00", "Mars/Base"): None, ("2026-02-03 10:00", "CET"): None,
        ("2026-02-03 10:00", "europe/berlin"): None, ("2026-02-03 10:00", "+02:00"): None,
        ("2026-02-03 10:00", "America/Foo+3"): None, ("2026-02-03 10:00", "Etc/GMT+99"): None,
        ("2026-02-03 10:00", "Europe/Berlin'"): None, ("2026-02-03 10:00", "posix/Europe/Berlin"): None,
        ("2026-02-03 10:00", "Europe"): None, ("2026-02-03 10:00", "Eastern Time (US & Canada)"): None,
        ("never", "Europe/Berlin"): None,
    },
    "offset": {
        ("2026-02-03 10:00", "60"): "2026-02-03 09:00:00", ("2026-02-03 10:00", "-330"): "2026-02-03 15:30:00",
        ("2026-02-03 10:00", "+05:30"): "2026-02-03 04:30:00", ("2026-02-03", "120"): "2026-02-02 22:00:00",
        ("2026-02-03 10:00Z", "60"): "2026-02-03 10:00:00", ("2026-02-03 10:00", "0"): "2026-02-03 10:00:00",
        ("2026-02-03 10:00", None): None, ("2026-02-03 10:00", "CET"): None, ("2026-02-03 10:00", "999"): None,
    },
    "comma": {
        "1.044,90": "1044.90", "95,00": "95.00", "1044,9": "1044.90", "1 044,90": "1044.90", "1\u202f044,90": "1044.90",
        "1'044,90": "1044.90", "-5,00": "-5.00", "(5,00)": "-5.00", ",50": "0.50", "12": "12.00", "1.234": "1234.00",
        "1.234.567": "1234567.00",
        "1,044.90": None, "12.50": None, "1.04,90": None, "1.044.90": None, "1.044,905": None, "1 044.900,00": None,
        "12,5,0": None, "a": None, "5,": None, "0.250": None, "0.250,5": None, "0 250": None, "-0.250": None,
        "0,250": "0.25", "0": "0.00",
    },
    "point": {
        "1,044.90": "1044.90", "1 044.90": "1044.90", "12.5": "12.50", "1,234": "1234.00",
        "1.044,90": None, "95,00": None, "1,04": None, "0,250": None,
    },
    "mixed": {
        "1.120,00": "1120.00", "95,00": "95.00", "100.00": "100.00", "1,120.00": "1120.00", "1 234,5": "1234.50",
        "1.234.567": "1234567.00", "1,234,567": "1234567.00", "1234": "1234.00", "0,500": "0.50", "0.500": "0.50",
        "1 234": "1234.00", "12,5": "12.50", ",50": "0.50",
        "1,234": None, "1.234": None, "12.345": None, "1.234,56,7": None, "1,23.4": None,
    },
    "thousandths": {"1,125": "1.125", "1.234,5": "1234.500", "1,1255": None, "1.125": "1125.000"},
    "cents": {
        "1250": "12.50", "5": "0.05", "-5": "-0.05", "100": "1.00", "0": "0.00", "10": "0.10", "-123456": "-1234.56",
        "12.50": None, "1,250": None, "5-": None, "+5": None, "$5": None,
    },
    "comma_number": {"1,5": "1.5", "1.234,5678": "1234.5678", "-0,001": "-0.001", "1.5": None},
    "euro": {
        "95,00 €": ("95.00", "EUR"), "€95,00": ("95.00", "EUR"), "95,00": ("95.00", "EUR"), "-€5,00": ("-5.00", "EUR"),
        "EUR 1.044,90": ("1044.90", "EUR"), "(5,00 €)": ("-5.00", "EUR"), "12,50EUR": ("12.50", "EUR"),
        "$95,00": (None, None), "95,00 USD": (None, None), "95,00 kr": (None, None), "€95,00 EUR": (None, None),
        "95.00 €": (None, None), "95,00 euros": (None, None),
    },
    "any_currency": {
        "£120.00": ("120.00", "GBP"), "95,00 €": ("95.00", "EUR"), "1.120,00 kr": ("1120.00", "SEK"),
        "5 CHF": ("5.00", "CHF"),
        "100.00": (None, None), "1,234 €": (None, None), "€": (None, None), "12 Eur": (None, None),
    },
    "by_column": {
        ("120.00", "gbp"): ("120.00", "GBP"), ("£120.00", "GBP"): ("120.00", "GBP"), ("£120.00", "EUR"): (None, None),
        ("120.00", None): (None, None), ("120.00", "euro"): (None, None), ("£120.00", None): ("120.00", "GBP"),
    },
    "parts": {
        ("1250", "usd"): ("12.50", "USD"), ("1250", "JPY"): ("1250", "JPY"), ("1250", "kwd"): ("1.250", "KWD"),
        ("-5", "EUR"): ("-0.05", "EUR"), ("12.50", "EUR"): (None, None), ("12.5", "JPY"): (None, None),
        ("1250", None): (None, None),
    },
    "troll": {"2026-10-25 01:30": "2026-10-24 23:30", "2026-10-25 03:30": "2026-10-25 03:30", "2026-03-29 01:30": None},
}  # fmt: skip


def query_of(column: dict[str, Any]) -> str:
    """Return the dbt SQL that reads a column, with its currency, from a table `texts`."""
    defaults = {
        "name": "value",
        "has_currency": False,
        "spelling": {},
        "scale": None,
        "timezone": None,
        "timezone_from": None,
    }
    literal = json.dumps(defaults | column, ensure_ascii=False)
    for one, other in (("true", "True"), ("false", "False"), ("null", "None")):
        literal = literal.replace(f": {one}", f": {other}")
    return f"""
        {{%- set column = {literal} -%}}
        select timed.place,
            {{% if zone_of(column) %}}case when {{{{ matches('timed.spelled', ':.*[Zz+−-]') }}}} then timed.value
                else {{{{ local_to_utc('timed.value', zone_of(column)) }}}} end
            {{%- else %}}timed.value{{% endif %}} as value,
            case when timed.value is not null then timed.currency end as currency
        from (
            select spelled.place, spelled.value as spelled, spelled.currency,
                {{% if column.timezone_from %}}{{{{ zone_name('spelled.other') }}}}{{% else %}}null{{% endif %}}
                as {{{{ adapter.quote('value timezone') }}}}, {{{{ parse_column(column, 'spelled.value') }}}} as value
            from (
                select cleaned.place, cleaned.other, {{{{ spelled_value(column) }}}} as value,
                    {{% if column.has_currency %}}{{{{ currency_of(column) }}}}{{% else %}}null{{% endif %}} as currency
                from (
                    select place, {{{{ clean_text('value') }}}} as value, {{{{ clean_text('other') }}}} as other
                    from texts
                ) as cleaned
            ) as spelled
        ) as timed
    """


def compiled(database: Database, engine: str) -> dict[str, str]:
    """Return the SQL that reads each column."""
    parts = [f"---{name}---{query_of(column)}" for name, column in COLUMNS.items()]
    done = database.run("bin/dbt", "--quiet", "compile", "--target", engine, "--inline", "".join(parts))
    assert done.returncode == 0, done.stdout + done.stderr
    found = done.stdout.split("---")[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def columns_of(texts: list[tuple[str | None, str | None]]) -> list[list[str | None]]:
    """Return the values, and those of the other column."""
    return [[value for value, _ in texts], [other for _, other in texts]]


def postgres_reader(database: Database) -> Iterator[Read]:
    queries = compiled(database, "postgres")
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table texts (value text, other text, place bigint)")

        def read(name: str, texts: list[tuple[str | None, str | None]]) -> list[Any]:
            cursor.execute("truncate texts")
            cursor.execute(
                "insert into texts select * from unnest(%s::text[], %s::text[]) with ordinality", columns_of(texts)
            )
            cursor.execute(f"select value, currency from ({queries[name]}) as found order by place")
            return cursor.fetchall()

        yield read


def duckdb_reader(database: Database) -> Iterator[Read]:
    queries = compiled(database, "duckdb")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'; create table texts (value text, other text, place bigint)")

        def read(name: str, texts: list[tuple[str | None, str | None]]) -> list[Any]:
            connection.execute("truncate texts")
            insert = "insert into texts select unnest($1::text[]), unnest($2::text[]), unnest(range(len($1)))"
            connection.execute(insert, columns_of(texts))
            return connection.execute(f"select value, currency from ({queries[name]}) order by place").fetchall()

        yield read


@pytest.fixture(scope="module", params=[postgres_reader, duckdb_reader], ids=["postgres", "duckdb"])
def read(new_database: Callable[[], Database], request: pytest.FixtureRequest) -> Iterator[Read]:
    """Give a function that reads values, each with that of another column: pairs of value and currency."""
    with contextlib.contextmanager(request.param)(new_database()) as reader:
        yield reader


def typed(name: str, value: Any) -> Any:
    """Return a value of the table as Python holds it."""
    if not isinstance(value, str):
        return value
    parse = COLUMNS[name]["parse"]
    read = {"date": datetime.date.fromisoformat, "timestamp": datetime.datetime.fromisoformat}
    return read.get(parse, Decimal)(value)


@pytest.mark.parametrize("name", TABLE)
def test_a_spelling_reads_what_is_unambiguous_and_nothing_else(read: Read, name: str) -> None:
    texts = [text if isinstance(text, tuple) else (text, None) for text in TABLE[name]]
    expected = [value if isinstance(value, tuple) else (value, None) for value in TABLE[name].values()]
    found = dict(zip(texts, read(name, texts), strict=True))
    assert found == {
        text: (typed(name, value), currency) for text, (value, currency) in zip(texts, expected, strict=True)
    }


@pytest.fixture(scope="module")
def readers(new_database: Callable[[], Database]) -> Iterator[list[Read]]:
    """Give the functions of both engines."""
    database = new_database()
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(contextlib.contextmanager(reader)(database))
            for reader in (postgres_reader, duckdb_reader)
        ]


MOMENTS = st.datetimes(*map(datetime.datetime.fromisoformat, ("1900-01-01", "2099-12-31")))
WRITTEN = {  # by Python
    "german_day": "%d.%m.%Y", "american": "%m/%d/%Y %I:%M %p", "mail": "%a, %d %b %Y %H:%M:%S +0000",
}  # fmt: skip


@given(st.sampled_from([*WRITTEN]), st.lists(MOMENTS, min_size=1, max_size=20))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_python_writes_in_a_spelling_is_read_back(readers: list[Read], name, moments) -> None:
    moments = [moment.replace(microsecond=0, second=moment.second if name == "mail" else 0) for moment in moments]
    texts = [(moment.strftime(WRITTEN[name]), None) for moment in moments]
    expected = [moment.date() if name == "german_day" else moment for moment in moments]
    for read in readers:
        assert [value for value, _ in read(name, texts)] == expected


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "UTC")


@given(
    st.sampled_from(["berlin", "howe", "troll", "by_zone"]),
    st.sampled_from(ZONES),
    st.lists(MOMENTS, min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_local_times_are_those_of_their_zone(readers: list[Read], name, other, moments) -> None:
    """A time that comes twice is the earlier one; every other is what Python makes of it."""
    zone = zoneinfo.ZoneInfo(COLUMNS[name].get("timezone", other))
    utc = [moment.replace(microsecond=0, tzinfo=datetime.timezone.utc) for moment in moments if moment.year > 1970]
    assume(utc)
    local = [moment.astimezone(zone) for moment in utc]
    expected = [moment.replace(fold=0).astimezone(datetime.timezone.utc).replace(tzinfo=None) for moment in local]
    texts = [(moment.strftime("%Y-%m-%d %H:%M:%S"), other) for moment in local]
    for read in readers:
        assert [value for value, _ in read(name, texts)] == expected


NOON = datetime.datetime.fromisoformat("2026-01-15 12:00")


def noon_in_all_zones() -> list[tuple[str, str]]:
    """Return noon in each zone that Python or DuckDB has a name for."""
    with duckdb.connect() as connection:
        known = {name for (name,) in connection.execute("select name from pg_timezone_names()").fetchall()}
    return [(str(NOON), name) for name in sorted({*zoneinfo.available_timezones(), *known})]


def test_all_engines_know_the_same_zones(readers: list[Read]) -> None:
    """Of the names that Python or an engine knows, each is read alike: as Python's, or not at all."""
    texts = noon_in_all_zones()
    one, other = (read("by_zone", texts) for read in readers)
    assert one == other
    found = {name: value for (_, name), (value, _) in zip(texts, one, strict=True) if value}
    assert len(found) > 500
    for name, value in found.items():
        local = NOON.replace(tzinfo=zoneinfo.ZoneInfo(name))
        assert value == local.astimezone(datetime.timezone.utc).replace(tzinfo=None), name


@given(
    st.sampled_from(["comma", "point", "mixed"]),
    st.lists(st.tuples(st.integers(-(10**14), 10**14), st.booleans()), min_size=1, max_size=20),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_amounts_are_never_read_as_other_amounts(readers: list[Read], name, cents) -> None:
    """With and without separators of thousands, in both spellings: one of the wrong spelling is not read at all."""
    texts, expected = [], []
    for number, is_grouped in cents:
        value = Decimal(number).scaleb(-2)
        point = f"{value:,.2f}" if is_grouped else f"{value:.2f}"
        comma = point.translate(str.maketrans(".,", ",."))
        texts += [(point, None), (comma, None)]
        expected += [value if name != "comma" else None, value if name != "point" else None]
    for read in readers:
        assert [value for value, _ in read(name, texts)] == expected


FORMATS = (
    *("DD.MM.YYYY", "D.M.YY", "D/M/YYYY", "M/D/YYYY", "M/D/YY", "YYYY/MM/DD", "YYYYMMDD", "DDMMYYYY", "DD Mon YYYY"),
    *("D-Mon-YY", "Mon D, YYYY", "YYMMDD", "excel", "iso", "epoch_s", "DD.MM.YYYY HH:mm"),
)


def test_two_formats_of_a_column_never_read_one_text_as_two_days(database: Database) -> None:
    """Each text that Python writes in any format: of formats that can be declared together, one at most reads it."""
    days = [datetime.date(2026, 1, 2) + datetime.timedelta(days=step * 37) for step in range(-900, 400)]
    written = (
        "%d.%m.%Y",
        "%d/%m/%Y",
        "%d/%m/%y",
        "%Y/%m/%d",
        "%Y%m%d",
        "%d%m%Y",
        "%d %b %Y",
        "%b %d, %Y",
        "%y%m%d",
        "%Y-%m-%d",
        "%d.%m.%y",
        "%d-%b-%y",
    )
    texts = {day.strftime(form) for day in days for form in written}
    texts |= {str((day - datetime.date(1899, 12, 30)).days) for day in days}
    calls = ", ".join(
        f"{{{{ parse_timestamp(iso_8601('value', {form!r})) }}}} as format_{n}" for n, form in enumerate(FORMATS)
    )
    done = database.run("bin/dbt", "--quiet", "compile", "--inline", f"select value, {calls} from texts")
    assert done.returncode == 0, done.stdout + done.stderr
    with contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("create temporary table texts as select * from unnest(%s) as texts (value)", [[*texts]])
        cursor.execute(done.stdout)
        found = cursor.fetchall()
    together, differing = set(), set()
    for one, other in itertools.combinations(range(len(FORMATS)), 2):
        pair = FORMATS[one], FORMATS[other]
        if [*spelling.problems_of_formats([*pair])]:
            continue
        together.add(pair)
        if any(row[one + 1] and row[other + 1] and row[one + 1] != row[other + 1] for row in found):
            differing.add(pair)
    assert len(together) > 60
    assert differing == set()
    assert all(any(row[n + 1] for row in found) for n in range(len(FORMATS) - 2)), "each format reads some"
    for pair in (
        ("D/M/YYYY", "M/D/YYYY"),
        ("YYYYMMDD", "DDMMYYYY"),
        ("YYMMDD", "excel"),
        ("D.M.YY", "D.M.YY"),
        ("iso", "YYYY-DD-MM H:mm"),
    ):
        assert [*spelling.problems_of_formats([*pair])] == [
            f"`format`: {pair[0]} and {pair[1]} can both read the same text: remove one of them"
        ]


def test_the_tokens_are_those_of_the_macro() -> None:
    text = (declared.project.ROOT / "dbt/macros/spelling/iso_8601.sql").read_text()
    patterns = text[text.index("set patterns") : text.index("} -%}")]
    assert set(re.findall(r"'(\w+)': ", patterns)) == {*spelling.TOKENS}
    assert f"'{spelling.TOKEN.pattern}'" in text


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"parse": "text", "format": "YYYY"}, "`format` goes with `parse: date or timestamp`, not with text"),
        ({"parse": "date", "format": "DD.MM"}, "`format: DD.MM`: it needs one year, such as DD.MM.YYYY H:mm"),
        ({"parse": "date", "format": "DD.MM.YYYY DD"}, "it needs one day, such as"),
        ({"parse": "date", "format": "DMYYYY"}, "`format: DMYYYY`: DMYYYY can be read in two ways"),
        ({"parse": "amount", "minor_units": "currency"}, "`minor_units: currency` needs `currency` or `currency_from`"),
        ({"parse": "timestamp", "format": "D/M/YYYY h:mm"}, "hh and h are hours from 1 to 12 and need AM"),
        ({"parse": "date", "format": []}, "`format: []`: it takes a format such as DD.MM.YYYY, or a list of them"),
        ({"parse": "timestamp", "timezone": "Berlin"}, "`timezone: Berlin`: it takes the name of a time zone"),
        ({"parse": "timestamp", "offset_from": "gone"}, "`offset_from` names gone, which isn't a column"),
        ({"parse": "timestamp", "offset_from": "a", "timezone": "UTC"}, "`timezone` and `offset_from`: remove one"),
        ({"parse": "timestamp", "timezone_from": "gone"}, "`timezone_from` names gone, which isn't a column"),
        ({"parse": "date", "timezone_from": "a"}, "`timezone_from` goes with `parse: timestamp`, not with date"),
        ({"parse": "timestamp", "timezone_from": "a", "timezone": "UTC"}, "`timezone` and `timezone_from`: remove one"),
        ({"parse": "timestamp", "timezone_from": "a", "offset_from": "b"}, "`timezone_from` and `offset_from`: remove"),
        ({"parse": "amount", "decimal": ";"}, "`decimal: ;`: it takes '.', ',' or any"),
        ({"parse": "amount", "scale": "3"}, "`scale: 3`: it takes a whole number from 0 to 18"),
        ({"parse": "amount", "currency": "euro"}, "`currency: euro`: it takes an ISO 4217 code such as EUR, or null"),
        ({"parse": "amount", "currency": "EUR", "currency_from": "a"}, "`currency` and `currency_from`: remove one"),
        ({"nulls": "NaN"}, "`nulls: NaN`: it takes a list of texts, which may be empty"),
    ],
)
def test_a_wrong_setting_is_named(rules: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in spelling.problems(rules, ("a", "b")))


def test_a_german_export_becomes_a_mart_on_both_engines(tmp_path: Path, database: Database) -> None:
    """Semicolons, windows-1252, decimal commas, days first, zones, a currency, a marker of its own: by declaration."""

    def run(*command: str, **variables: str) -> str:
        done = database.run(*command, root=tmp_path / "a copy", env=variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    root = copy_with_own_feed(tmp_path / "a copy", run)
    path = root / "dbt/models/staging/bar/_bar__sources.yml"
    text = path.read_text()
    spelled = "format: 'DD.MM.YYYY HH:mm', timezone: Europe/Berlin"
    for before, after in (
        (
            "meta:\n            current",
            "meta:\n            nulls: [k.A.]\n            format: {delimiter: ';', encoding: windows-1252}\n"
            "            current",
        ),
        ("{parse: amount, required: true}", "{parse: amount, required: true, decimal: ',', currency: EUR}"),
        ("{parse: date, required: true}", f"{{parse: timestamp, required: true, {spelled}}}"),
        (
            "          - {name: note",
            "          - {name: seen, config: {meta: {parse: timestamp, timezone_from: zone}}}\n"
            "          - {name: zone}\n          - {name: note",
        ),
    ):
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)
    file = root / "data/incremental/bar/sales/1.csv"
    file.parent.mkdir(parents=True)
    rows = (
        "1;1.044,90 €;03.02.2026 10:00;Café;2026-07-01 10:00;Asia/Tokyo",
        "2;5,00;03.07.2026 00:30;k.A.;2026-07-01 10:00;Tokyo",
        "3;$5,00;01.02.2026 10:00;;;",
        "4;5,00;2026-02-03 10:00;;2026-07-01 10:00;",
        "5;5.00;01.02.2026 10:00;;soon;Asia/Tokyo",
        "6;5,00;29.03.2026 02:30;;2026-07-01 10:00Z;k.A.",
    )
    file.write_bytes("\r\n".join(["Sale ID;Price;Sold On;Note;Seen;Zone", *rows, ""]).encode("windows-1252"))
    run("bin/ingest")
    run("bin/dbt", "build", "--exclude-resource-type", "test", "unit_test")
    run("bin/lake")
    run("bin/dbt", "build", "--exclude-resource-type", "test", "unit_test", GRANARY_ENGINE="duckdb")
    with duckdb.connect(str(root / "granary.duckdb"), read_only=True) as connection:
        engines = database.query, lambda query: connection.execute(query).fetchall()
        for query in engines:
            assert query("select sale_id, price, note from marts.fct_bar_sales order by 1") == [
                ("1", Decimal("1044.90"), "Café"), ("2", Decimal("5.00"), None),
            ]  # fmt: skip
            columns = "sale_id, price_currency, seen, cast(sold_on as varchar(16))"
            staged = f"select {columns} from staging.stg_bar__sales order by 1"
            found = [(*row, moment[:16]) for *row, moment in query(staged)]
            seen = datetime.datetime.fromisoformat("2026-07-01 01:00")
            assert found == [("1", "EUR", seen, "2026-02-03 09:00"), ("2", "EUR", None, "2026-07-02 22:30")]
            columns = "line_number, column_name, delivered_value, explanation"
            assert query(f"select {columns} from marts.rejected_rows order by 1, 2") == [
                (3, "seen", "2026-07-01 10:00", "has no offset, and no time zone such as Europe/Berlin in zone"),
                (4, "price", "$5,00", "is not amount like 1.044,90"),
                (5, "seen", "2026-07-01 10:00", "has no offset, and no time zone such as Europe/Berlin in zone"),
                (5, "sold_on", "2026-02-03 10:00", "is not timestamp like 31.12.2026 17:09"),
                (6, "price", "5.00", "is not amount like 1.044,90"),
                (6, "seen", "soon", "cannot be read as timestamp"),
                (7, "sold_on", "29.03.2026 02:30", "is not timestamp like 31.12.2026 17:09"),
            ]
    path.write_text(text.replace("timezone: Europe/Berlin", "timezone: Europe/London"))
    done = database.run("bin/dbt", "build", root=root)
    assert done.returncode != 0
    assert "The rules by which bar.sales is read changed" in done.stdout + done.stderr
