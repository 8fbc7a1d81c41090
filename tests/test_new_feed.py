"""bin/feed new: exports in the shapes of well-known services, with invented rows, become marts whose sums are right."""

from __future__ import annotations

import contextlib
import csv
import datetime
import io
import json
import random
import re
import textwrap
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import Database, copy_of_project
from granary import declared
from granary.declared import Entity
from granary.loader.landing import LandingFile
from granary.new_feed import existing, layouts, proposal, readings
from granary.new_feed.readings import Column, Question, Reading
from granary.project import GranaryError
from granary.text import column_name
from own_feed import copy_with_own_feed

pytestmark = pytest.mark.long
COUNT = 40
START = datetime.datetime.fromisoformat("2026-02-03T10:02:11")


class Export(NamedTuple):
    """A file, the answers that its feed needs, and what its mart must hold: a sum, and its first and last moment."""

    name: str
    content: bytes
    answers: tuple[str, ...]
    amount: str
    total: Decimal
    moment: str
    times: tuple[str, str]


def rows() -> list[tuple[int, datetime.datetime, Decimal]]:
    """Return numbers, moments and amounts: days above 12 and below, thousands and cents."""
    chance = random.Random(7)
    return [
        (number, START + datetime.timedelta(hours=17 * number), Decimal(chance.randrange(50, 250_000)) / 100)
        for number in range(1, COUNT + 1)
    ]


def table(header: list[str], lines: list[list[Any]], **dialect: Any) -> str:
    """Return CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n", **dialect)
    writer.writerows([header, *lines])
    return text.getvalue()


def european(amount: Decimal) -> str:
    """Return an amount as Germans write it."""
    return f"{amount:,.2f}".translate(str.maketrans(".,", ",."))


def exports() -> dict[str, Export]:
    """Return an export in each shape, by the name of its feed."""
    data = rows()
    total, first, last = sum(amount for *_, amount in data), data[0][1], data[-1][1]
    days = (str(first.date()), str(last.date()))
    minutes = (str(first.replace(second=0)), str(last.replace(second=0)))
    seconds = (str(first), str(last))
    found = {}

    def add(feed: str, name: str, text: str, amount: str, moment: str, times: Any, *answers: str, **other: Any) -> None:
        content = text.encode(other.get("encoding", "utf-8"))
        found[feed] = Export(name, content, answers, amount, other.get("total", total), moment, times)

    add(
        "shopify",
        "orders_export.csv",
        table(
            ["Name", "Email", "Financial Status", "Paid at", "Currency", "Total", "Lineitem quantity"],
            [
                [
                    f"#10{n}",
                    f"a{n}@example.org",
                    "paid",
                    f"{at:%Y-%m-%d %H:%M:%S} +0100",
                    "EUR",
                    f"{amount:.2f}",
                    n % 3 + 1,
                ]
                for n, at, amount in data
            ],
        ),
        "total",
        "paid_at",
        tuple(str(at - datetime.timedelta(hours=1)) for at in (first, last)),
        "key=none",
    )
    add(
        "stripe",
        "unified_payments.csv",
        table(
            ["id", "Created date (UTC)", "Amount", "Currency", "Captured"],
            [[f"ch_{n}", f"{at:%Y-%m-%d %H:%M:%S}", f"{amount:.2f}", "usd", "true"] for n, at, amount in data],
        ),
        "amount",
        "created_date_utc",
        seconds,
    )
    add(
        "stripe_api",
        "charges.json",
        json.dumps(
            {
                "object": "list",
                "has_more": False,
                "data": [
                    {
                        "id": f"ch_{n}",
                        "amount": int(amount * 100),
                        "currency": "usd",
                        "paid": True,
                        "created": int(at.replace(tzinfo=datetime.timezone.utc).timestamp()),
                        "metadata": {"n": n},
                    }
                    for n, at, amount in data
                ],
            }
        ),
        "amount",
        "created",
        seconds,
        "minor_units=cents",
    )
    add(
        "woocommerce",
        "orders.csv",
        table(
            ["order_id", "date_created", "status", "order_total", "currency", "billing_email"],
            [
                [n, at.isoformat(), "wc-completed", f"{amount:.2f}", "GBP", f"a{n}@example.org"]
                for n, at, amount in data
            ],
        ),
        "order_total",
        "date_created",
        seconds,
    )
    add(
        "square",
        "transactions.csv",
        table(
            ["Date", "Time", "Time Zone", "Gross Sales", "Transaction ID"],
            [
                [f"{at:%m/%d/%y}", f"{at:%I:%M:%S %p}", "Eastern Time (US & Canada)", f"${amount:,.2f}", f"T{n}"]
                for n, at, amount in data
            ],
        ),
        "gross_sales",
        "date",
        days,
        "key=transaction_id",
    )
    add(
        "paypal",
        "Download.CSV",
        table(
            ["Date", "Time", "TimeZone", "Name", "Status", "Currency", "Gross", "Transaction ID"],
            [
                [f"{at:%d/%m/%Y}", f"{at:%H:%M:%S}", "CET", f"Zoë {n}", "Completed", "EUR", european(amount), f"P{n}"]
                for n, at, amount in data
            ],
            quoting=csv.QUOTE_ALL,
        ),
        "gross",
        "date",
        days,
        "key=transaction_id",
    )
    add(
        "bigquery",
        "events.json",
        "".join(
            json.dumps(
                {"event_date": f"{at:%Y%m%d}", "event_id": f"e{n}", "value": f"{amount:.2f}", "params": [{"key": "a"}]}
            )
            + "\n"
            for n, at, amount in data
        ),
        "value",
        "event_date",
        days,
        "currency=USD",
        "key=event_id",
    )
    add(
        "airtable",
        "Grid view.csv",
        "\ufeff"
        + table(
            ["Name", "Created", "Price", "Done"],
            [
                [
                    f"Row {n}",
                    f"{at.month}/{at.day}/{at.year} {at.hour % 12 or 12}:{at:%M}{at:%p}".lower(),
                    f"${amount:.2f}",
                    "checked" if n % 2 else "",
                ]
                for n, at, amount in data
            ],
        ),
        "price",
        "created",
        minutes,
        "key=none",
    )
    add(
        "eventbrite",
        "report.csv",
        table(
            ["Order #", "Order Date", "Attendee Name", "Total Paid", "Currency"],
            [[n, f"{at:%Y-%m-%d %H:%M:%S}-05:00", f"O'Neil {n}", f"{amount:.2f}", "USD"] for n, at, amount in data],
        ),
        "total_paid",
        "order_date",
        tuple(str(at + datetime.timedelta(hours=5)) for at in (first, last)),
        "key=order",
    )
    add(
        "forms",
        "Responses.csv",
        table(
            ["Timestamp", "Email Address", "How many tickets?", "What did you pay?"],
            [
                [f"{at.month}/{at.day}/{at.year} {at.hour}:{at:%M:%S}", f"a{n}@example.org", n % 4, f"{amount:.2f}"]
                for n, at, amount in data
            ],
        ),
        "what_did_you_pay",
        "timestamp",
        seconds,
        "key=none",
    )
    add(
        "analytics",
        "ga4.csv",
        "# ----------------\n# All Users\n# 20260203-20260303\n# ----------------\n"
        + table(
            ["Date", "Sessions", "Total revenue"],
            [[f"{at:%Y%m%d}", n * 17, f"{amount:.2f}"] for n, at, amount in data],
        ),
        "total_revenue",
        "date",
        days,
        "currency=USD",
        "key=none",
    )
    add(
        "pandas",
        "frame.csv",
        table(
            ["", "user_id", "spent", "seen_at", "score"],
            [[n - 1, f"{n}.0", amount, at, "NaN" if n % 5 == 0 else n / 7] for n, at, amount in data],
        ),
        "spent",
        "seen_at",
        seconds,
        "key=user_id",
    )
    add(
        "german",
        "Umsätze.csv",
        table(
            ["Beleg Nr", "Buchungsdatum", "Betrag", "Text"],
            [[f"B{n}", f"{at:%d.%m.%Y}", european(amount), "Café; Straße"] for n, at, amount in data],
            delimiter=";",
        ),
        "betrag",
        "buchungsdatum",
        days,
        "currency=EUR",
        encoding="cp1252",
    )
    add(
        "github",
        "issues.json",
        json.dumps(
            [
                {
                    "id": 10**9 + n,
                    "number": n,
                    "title": f"“{n}”",
                    "user": {"login": "a"},
                    "labels": [{"name": "bug"}],
                    "created_at": at.isoformat() + "Z",
                    "closed_at": None,
                    "comments": n,
                }
                for n, at, _ in data
            ]
        ),
        "comments",
        "created_at",
        seconds,
        total=Decimal(sum(n for n, *_ in data)),
    )
    add(
        "odd",
        "odd names.csv",
        table(
            ["2026", "no", "Order", "Amount", "Amount Currency", "Date"],
            [[f"k{n}", f"n{n}", n, f"{amount:.2f}", "EUR", at.date()] for n, at, amount in data],
        ),
        "amount",
        "date",
        days,
        "key=no",
    )
    return found  # fmt: skip


def option(answer: str) -> str:
    """Return the option that gives an answer."""
    return f"--{answer}" if answer.startswith("key=") else f"--set={answer}"


@pytest.fixture(scope="module")
def built(
    new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Database, Path, dict[str, str]]:
    """A project whose only feeds are made from the exports; what bin/feed new says of each."""
    database, folder = new_database(), tmp_path_factory.mktemp("exports")
    root, said = copy_of_project(folder / "a copy"), {}

    def run(*command: str | Path) -> str:
        done = database.run(*map(str, command), root=root)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    if declared.feeds():
        run("bin/feed", "remove", "--yes", "--force", *declared.units())
    for feed, export in exports().items():
        (folder / feed).mkdir()
        file = folder / feed / export.name
        file.write_bytes(export.content)
        said[feed] = run("bin/feed", "new", feed, "rows", file, *map(option, export.answers))
    run("bin/ingest")
    run("bin/dbt", "build")
    return database, root, said


@pytest.mark.parametrize("feed", [*exports()])
def test_an_export_becomes_a_mart_with_the_right_sum(built: tuple[Database, Path, dict[str, str]], feed: str) -> None:
    """Two answers at most, no row rejected, nothing to write by hand."""
    database, _, said = built
    export = exports()[feed]
    assert len(export.answers) <= 2
    assert "open question" not in said[feed], said[feed]
    times = f"min({export.moment})::text, max({export.moment})::text"
    query = f"select count(*), sum({export.amount}), {times} from marts.fct_{feed}_rows"
    assert database.query(query) == [(COUNT, export.total, *export.times)]
    assert database.query("select * from marts.rejected_rows where feed = %s", [feed]) == []


def test_currencies_are_those_of_the_files(built: tuple[Database, Path, dict[str, str]]) -> None:
    database, *_ = built
    currencies = {"odd": "EUR", "shopify": "EUR", "stripe": "USD", "paypal": "EUR", "square": "USD", "german": "EUR"}
    for feed, currency in currencies.items():
        amount = exports()[feed].amount
        assert database.query(f"select distinct {amount}_currency from marts.fct_{feed}_rows") == [(currency,)]


def test_what_the_data_does_not_tell_is_asked(database: Database, tmp_path: Path) -> None:
    """Without a terminal, the question stays in the source, and bin/ingest and builds say it."""
    root = copy_of_project(tmp_path / "a copy")
    file = tmp_path / "few.csv"
    file.write_text("id,sold_on,price\n1,03/04/2026,5\n2,05/06/2026,7\n")
    done = database.run("bin/feed", "new", "few", "sales", str(file), root=root)
    assert done.returncode == 1
    assert "is a question that bin/feed new could not answer: answer it" in done.stderr
    assert "open question: sold_on: in which order are day and month?" in done.stdout
    assert " --set sold_on.format= D/M/YYYY or M/D/YYYY\n" in done.stdout
    assert "open question: price: in which currency are the amounts?" in done.stdout
    assert "open question: price: are the amounts in units or in cents?" in done.stdout
    again = database.run("bin/feed", "new", "few", "sales", str(file), root=root)
    assert (again.returncode, again.stdout) == (1, "")
    assert "the feed few has a table sales already: choose another name, or try bin/feed check" in again.stderr


def test_a_table_is_added_to_a_feed_that_exists(database: Database, tmp_path: Path) -> None:
    """What its author wrote stays; where the source has a format for all tables, the new one says what is different."""
    root = tmp_path / "a copy"

    def run(*command: str | Path) -> str:
        done = database.run(*map(str, command), root=root)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    copy_with_own_feed(root, run)
    source, page = root / "dbt/models/staging/bar/_bar__sources.yml", root / "docs/feeds/bar.md"
    text = source.read_text().replace("    schema: raw\n", "    schema:   raw  # as always\n    config: {meta: {}}\n")
    text = text.replace("{meta: {}}", "{meta: {format: {delimiter: ';'}, nulls: ['--']}}") + "    # more to come"
    source.write_text(text)
    page.write_text("# The bar\n\nIt opens at five.\n")
    file = tmp_path / "wines.csv"
    file.write_text(
        "wine_id,name,price,since,stock\nw1,Rot,7.50,31.12.2025,--\nw2,None,8.25,13.01.2026,NaN\nw3,,9,14.1.2026,4\n"
    )
    said = run("bin/feed", "new", "bar", "wines", file, "--set=currency=EUR")
    assert f"extended {source.relative_to(root)} (46 lines)" in said, said
    assert source.read_text().startswith(f"{text}\n      - name: wines\n        identifier: bar__wines\n")
    assert page.read_text().startswith("# The bar\n\nIt opens at five.\n\n## wines\n\n`wines`: one row per wine_id of")
    run("bin/ingest")
    run("bin/dbt", "build", "--select", "group:bar", "tag:ledger")
    columns = "wine_id, name, price::text, price_currency, since::text, stock"
    assert database.query(f"select {columns} from marts.fct_bar_wines order by 1") == [
        ("w1", "Rot", "7.50", "EUR", "2025-12-31", None),
        ("w2", "None", "8.25", "EUR", "2026-01-13", None),
        ("w3", None, "9.00", "EUR", "2026-01-14", 4),
    ]
    before = {path: path.read_bytes() for path in root.rglob("dbt/models/**/*") if path.is_file()}
    done = database.run("bin/feed", "new", "bar", "wines", str(file), root=root)
    assert (done.returncode, done.stdout) == (1, "")
    assert "the feed bar has a table wines already" in done.stderr
    (root / "dbt/models/marts/bar/fct_bar_beers.sql").write_text("select 1 as one")
    done = database.run("bin/feed", "new", "bar", "beers", str(file), root=root)
    assert "fct_bar_beers.sql exists, and nothing is overwritten" in done.stderr
    (root / "dbt/models/marts/bar/fct_bar_beers.sql").unlink()
    assert before == {path: path.read_bytes() for path in root.rglob("dbt/models/**/*") if path.is_file()}


def test_a_source_that_can_not_be_extended_safely_is_left_alone(database: Database, tmp_path: Path) -> None:
    """The models are written, and the lines to paste are printed; with them, all is declared."""
    root = copy_of_project(tmp_path / "a copy")
    file = tmp_path / "few.csv"
    file.write_text("id,sold_on\n1,31/04/2026\n2,15/06/2026\n")
    assert database.run("bin/feed", "new", "few", "sales", str(file), root=root).returncode == 0
    source = root / "dbt/models/staging/few/_few__sources.yml"
    source.write_text(f"{source.read_text()}    tags: [sold]\n")
    text = source.read_text()
    done = database.run("bin/feed", "new", "few", "refunds", str(file), root=root)
    assert done.returncode == 1
    assert f"{source.relative_to(root)} can't be extended safely" in done.stderr
    assert source.read_text() == text
    assert (root / "dbt/models/staging/few/stg_few__refunds.sql").exists()
    block = done.stderr.partition("run bin/feed sync:\n")[2]
    source.write_text(text.replace("    tags:", f"{textwrap.indent(block, ' ' * 6)}    tags:"))
    done = database.run("bin/feed", "sync", root=root)
    assert done.returncode == 0, done.stderr
    assert "refunds" in (root / "dbt/dbt_project.yml").read_text()


def read_columns(database: Database, values: dict[str, list[str]], numeric: tuple[str, ...] = ()) -> dict[str, Column]:
    """Return how columns are read, given their headers and values; nothing is written."""
    rows = max(map(len, values.values()))
    names = {column_name(header): header for header in values}
    columns = ", ".join(f'"{name}" text' for name in names)
    database.query(f"create schema if not exists raw; create table raw.tried ({columns})")
    cells = [[(each + [None] * rows)[row] for each in values.values()] for row in range(rows)]
    with contextlib.closing(database.connect()) as connection, connection, connection.cursor() as cursor:
        cursor.executemany(f"insert into raw.tried values ({', '.join(['%s'] * len(names))})", cells)
        found = readings.read_columns(cursor, "tried", names, numeric, ["None"])
    return {column.name: column for column in found}


def test_what_can_be_read_in_two_ways_is_asked_and_what_can_not_is_not(database: Database) -> None:
    """By column: the values, the reading, the setting that is asked, and a part of the evidence."""
    tried = {
        "thousandth": (["1.253", "2.500"], "price", "decimal", ""),
        "weight": (["1.253", "2.500"], "price", "", ""),
        "padded_thousandth": (["1.700", "0.250"], "amount", "", ""),
        "comma_thousandth": (["1,700", "0,250"], "amount decimal ,", "", ""),
        "thousand": (["1,700", "2,250"], "amount", "decimal", ""),
        "thousands": (["1,700", "1,002,250"], "amount", "", ""),
        "pieces": (["1.000", "2.000"], "amount", "decimal", ""),
        "whole": (["5", "7"], "integer", "", ""),
        "material": (["004000", "12"], "text", "", "leading zeros, such as 004000"),
        "caller": (["01701234567", "1701234567"], "text", "", "leading zeros"),
        "Day": (["26/01/01", "26/01/02"], "date format D/M/YY", "format", ""),
        "Sent date": ([f"{day:02}/02/26" for day in range(1, 29)], "date format D/M/YY", "", "1 year, where YY/M/D"),
        "Stamp": (["2026/01/05 3:04:05 PM GMT+1", "NaT"], "timestamp format YYYY/MM/DD h:mm:ss AM Z", "", "1 of 1"),
        "Fee": (["0.00", "5.00"], "amount", "", ""),
        "Gebühr": (["3", "5"], "amount", "", ""),
        "Betrag (€)": (["5,10", "7,20"], "amount decimal ,", "", ""),
        "price_gbp": (["5.10", "7.20"], "amount", "", ""),
        "Money": (["eur", "USD"], "text", "", ""),
        "Währung": (["EUR", "XBT"], "text", "", ""),
        "country": (["DEU", "USA"], "text", "", ""),
        "Paid": (["$5.10", "$7"], "amount decimal .", "", "$ is USD by currency_signs"),
        "when_at": (["2026-01-05 10:00", "2026-01-06 11:00"], "timestamp", "", ""),
        "then_at": (["2026-01-05 10:00Z", "2026-01-06 11:00+01:00"], "timestamp", "", ""),
    }  # fmt: skip
    found = read_columns(database, {name: values for name, (values, *_) in tried.items()}, numeric=("weight",))
    said = {
        name: (str(column.reading), column.question.setting if column.question else "")
        for name, column in found.items()
    }
    assert said == {column_name(name): (reading, asked) for name, (_, reading, asked, _) in tried.items()}
    for name, (*_, evidence) in tried.items():
        assert evidence in found[column_name(name)].evidence
    assert [name for name, column in found.items() if column.is_currency] == ["money", "währung"]
    assert [name for name, column in found.items() if column.is_money and column.is_whole] == ["gebühr"]
    assert [name for name, column in found.items() if column.is_local] == ["when_at"]
    codes = {name: code for name, column in found.items() if (code := readings.currency_named(column))}
    assert codes == {"betrag": "EUR", "price_gbp": "GBP"}
    assert found["thousandth"].question.answers == (".", ",")
    assert {*found["day"].question.answers} == {"D/M/YY", "YY/M/D"}


def column(name: str, *settings: tuple[str, Any], parse: str = "amount", **other: Any) -> Column:
    """Return a column that is read so."""
    return Column(name, Reading(parse, settings), name, **other)


def test_answers_hold_for_the_columns_that_they_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    """A name with a currency tells by itself; what an answer is reused for is printed; $ or a code of its own stays."""
    formats = Question("?", ("D/M/YYYY", "M/D/YYYY"), "format")
    columns = [
        column("order_date", parse="date", question=formats),
        column("ship_date", parse="date", question=formats),
        column("total"),
        column("total_usd"),
        Column("betrag", Reading("amount"), "Betrag (€)"),
        column("tip", is_whole=True),
        column("paid", ("decimal", "."), ("currency", None)),
        column("when_at", parse="timestamp", is_local=True),
        column("then_at", parse="timestamp", is_local=True),
        column("seen_at_utc", parse="timestamp", is_local=True),
    ]
    given = {"order_date.format": "D/M/YYYY", "format": "M/D/YYYY", "currency": "EUR", "tip.minor_units": "cents"}
    proposal.answer(columns, given | {"when_at.timezone": "Europe/Berlin", "total.scale": "3", "decimal": ","})
    assert {each.name: dict(each.reading.settings) for each in columns} == {
        "order_date": {"format": "D/M/YYYY"},
        "ship_date": {"format": "M/D/YYYY"},
        "total": {"currency": "EUR", "scale": 3},
        "total_usd": {"currency": "USD"},
        "betrag": {"currency": "EUR"},
        "tip": {"currency": "EUR", "minor_units": 2},
        "paid": {"decimal": ".", "currency": None},
        "when_at": {"timezone": "Europe/Berlin"},
        "then_at": {},
        "seen_at_utc": {},
    }
    hint = "no offset: read as UTC; --set then_at.timezone=Europe/Berlin"
    assert capsys.readouterr().out.splitlines() == [
        "ship_date: M/D/YYYY, as --set says",
        "total: EUR, as --set says",
        "tip: EUR, as --set says",
        f"then_at: {hint}",
        "--set decimal: no column asks for it; name one: --set COLUMN.decimal=,",
    ]
    assert [each.name for each in columns if hint in each.evidence] == ["then_at"]


def test_an_answer_on_the_terminal_is_reused_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    formats = Question("?", ("D/M/YYYY", "M/D/YYYY"), "format")
    columns = [column(name, parse="date", question=formats) for name in ("order_date", "ship_date")]
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda self: True})())
    monkeypatch.setattr("builtins.input", lambda _: "M/D/YYYY")
    proposal.answer(columns, {})
    assert capsys.readouterr().out == "ship_date: M/D/YYYY, as for order_date\n"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("when.timezone", "UTC", "--set when.timezone: there is no column when: the nearest is when_at"),
        ("when_at.time_zone", "UTC", "there is no setting time_zone: the nearest is timezone"),
        ("curency", "EUR", "--set curency: there is no setting curency: the nearest is currency"),
        ("when_at.timezone", "Berlin", "it takes the name of a time zone, such as Europe/Berlin"),
        (
            "when_at.decimal",
            ",",
            "`decimal` goes with `parse: amount or price or number or integer`, not with timestamp",
        ),
    ],
)
def test_answers_that_no_column_takes_are_errors(name: str, value: str, said: str) -> None:
    with pytest.raises(GranaryError) as error:
        proposal.answer([column("when_at", parse="timestamp"), column("price")], {name: value, "price.currency": "EUR"})
    assert said in str(error.value)


def test_only_a_name_of_the_tables_own_is_a_key_without_a_question() -> None:
    assert proposal.likely_keys("orders", ["customer_id", "order_id", "plz"]) == ["order_id"]
    assert proposal.likely_keys("categories", ["category_id", "id"]) == ["id"]
    names = ["plz", "zip", "phone", "email", "phone_number", "zip_code", "postal_code", "country_code", "telefon_nr"]
    assert proposal.likely_keys("orders", names) == []
    assert proposal.likely_keys("orders", ["customer_id", "sku"]) == ["customer_id", "sku"]


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("id;price;note\n1;1,50;a\n2;2,75;b\n", {"delimiter": ";"}),
        ("id;name;price\n" + "".join(f"{n};Doe, J, {n};{n},50\n" for n in range(30)), {"delimiter": ";"}),
        ("a;b\n1,5,5;2,5,5\n3,5,5;4,5,5\n", {"delimiter": ";"}),
        ("id\tname\n" + "".join(f"{n}\tDoe, J, a, {n}\n" for n in range(30)), {"delimiter": "\t"}),
        ("id,name\n" + "".join(f'{n},"a;b;{n}"\n' for n in range(30)), {}),
        ("id,name\n" + "".join(f"{n},a;{n}\n" for n in range(30)), {}),
        ("id,name\n1,Zoë\n2,Žižek\n3,Ren\udce9\n", {}),
        ("id,name\n1,Ren\udce9\n2,Caf\udce9\n", {"encoding": "windows-1252"}),
    ],
)
def test_the_header_tells_the_delimiter_and_most_bytes_the_encoding(tmp_path: Path, content: str, found: dict) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert layouts.layout_of(path).format == found


def test_files_of_several_encodings_are_refused_and_other_differences_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = {"ascii": "id;a\n1;b\n", "utf": "id;a\n1;Zoë\n", "latin": "id;a\n1;Zo\udceb\n", "commas": "id,a\n1,b\n"}
    paths = {name: tmp_path / f"{name}.csv" for name in texts}
    for name, path in paths.items():
        path.write_bytes(texts[name].encode("utf-8", "surrogateescape"))
    layout = proposal.common_layout([paths["ascii"], paths["latin"], paths["commas"]])
    assert layout.format == {"delimiter": ";", "encoding": "windows-1252"}
    assert capsys.readouterr().out == ("commas.csv: delimiter 'as usual', but it will be read like ascii.csv: ';'\n")
    with pytest.raises(GranaryError, match=r"several encodings: utf.csv is utf-8, latin.csv is windows-1252"):
        proposal.common_layout([paths["utf"], paths["latin"]])


def test_numbers_are_told_from_texts_where_files_have_types(tmp_path: Path) -> None:
    import openpyxl
    import pyarrow
    import pyarrow.parquet

    rows = [{"a": 1.253, "b": "1.253", "c": True}, {"a": None, "b": 2, "c": False}]
    (tmp_path / "a.json").write_text(json.dumps({"rows": rows}))
    book = openpyxl.Workbook()
    for row in (["A", "B", "C"], [1.253, "1.253", True], [None, 2, False]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    columns = {"a": [Decimal("1.253"), None], "b": ["1.253", "2"], "c": [True, False]}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
    for name in ("a.json", "a.xlsx", "a.parquet"):
        meta = {"records": "rows"} if name == "a.json" else {}
        file = LandingFile(tmp_path, name, Entity("new", "file", "new__file", (), tmp_path, meta))
        assert layouts.numeric_columns(file) == {"a"}
        assert [*layouts.headers_of(file)] == ["a", "b", "c"]


def test_what_is_unclear_costs_no_row_and_no_other_feed(database: Database, tmp_path: Path) -> None:
    """A file of which too much is rejected is refused; a guess of a key is none; a row of totals is pointed out."""
    root = copy_of_project(tmp_path / "a copy")
    good, ragged = tmp_path / "good.csv", tmp_path / "ragged.csv"
    lines = [f"{day}/3/2026,c{day},5.50" for day in range(1, 12)]
    good.write_text("\n".join(["sold_on,customer_id,price", *lines, "Total,,60.50\n"]))
    ragged.write_text("\n".join(["sold_on,customer_id,price", *lines, "1/3/2026;c;5\n"]))
    done = database.run("bin/feed", "new", "few", "sales", str(good), str(ragged), root=root)
    assert done.returncode == 1
    assert "ragged.csv: 1 of 12 lines would be rejected, so nothing was written" in done.stderr
    assert not (root / "dbt/models/staging/few").exists()
    ragged.write_text("\n".join(["sold_on,customer_id,price", *lines, *lines, "1/3/2026;c;5\n"]))
    done = database.run("bin/feed", "new", "few", "sales", str(good), str(ragged), root=root)
    assert done.returncode == 1
    assert re.search(r"ragged.csv +lines +1 +1 of 23 lines", done.stdout), done.stdout
    assert "open question: key: which column identifies a row" in done.stdout
    assert "key: none, so the mart has a row per delivered row" in done.stdout
    assert "open question: price: in which currency" in done.stdout
    assert not list(root.rglob("int_few__sales.sql"))
    whole = tmp_path / "whole.csv"
    whole.write_text("id,name\n1,a\n2,b\nTotal,\n")
    done = database.run("bin/feed", "new", "other", "names", str(whole), root=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "only the last row has no name: if it holds totals, reject it" in done.stdout
    assert "key: id: 3 keys in 3 rows" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "sources: [{name: bar, tables: [{name: a}]}]\n",
        "sources:\n  - name: bar\n    tables:\n      - name: a\n    meta: {}\n",
        "sources:\n  - name: bar\n    tables:\n      - name: a\n  - name: other\n    tables:\n      - name: b\n",
        "sources:\n  - name: bar\n    tables: &tables\n      - name: a\nothers: *tables\n",
        "sources:\n  - name: bar\n    tables: []\n",
        "sources:\n  - name: other\n    tables:\n      - name: a\n",
    ],
)
def test_lines_are_added_only_where_nothing_else_changes(text: str) -> None:
    assert existing.with_table(text, "bar", "- name: new\n") is None


def test_files_that_would_be_lost_or_can_not_be_read_are_named(database: Database, tmp_path: Path) -> None:
    root = copy_of_project(tmp_path / "a copy")
    for folder, text in (("one", "id\n1\n"), ("two", "id\n2\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.csv").write_text(text)
    there = root / "data/incremental/till/sales/a.csv"
    there.parent.mkdir(parents=True)
    there.write_text("id\n3\n")
    (tmp_path / "b.csv.gz").write_bytes(b"\x1f\x8b\x08\x00cut")
    (tmp_path / "c.xlsx").write_bytes(b"no sheet")
    for files, said in (
        (["one/a.csv", "two/a.csv"], "have the same name: rename one of them"),
        (["one/a.csv"], f"{there} is another file, and nothing is overwritten: rename a.csv"),
        (["b.csv.gz"], "b.csv.gz: "),
        (["c.xlsx"], "c.xlsx: can't be read as Excel: "),
    ):
        done = database.run("bin/feed", "new", "till", "sales", *(str(tmp_path / file) for file in files), root=root)
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert there.read_text() == "id\n3\n"
    assert not (root / "dbt/models/staging/till").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "Bar", "sales", "a.csv"], "Bar is not a name for models: write it as bar"),
        (["new", "core", "sales", "a.csv"], "a feed can't be called core: choose another name"),
        (["new", "till", "sales", "none.csv"], "none.csv is not a file"),
        (["new", "till", "sales", "Makefile"], "Makefile: not a kind of file that can be loaded (docs/formats.md)"),
    ],
)
def test_ways_out(database: Database, arguments: list[str], said: str) -> None:
    done = database.run("bin/feed", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"error: {said}" in done.stderr
