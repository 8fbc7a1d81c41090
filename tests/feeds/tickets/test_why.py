"""bin/why: a difference is explained by lines, to the cent."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import DBT, ROOT, Database

HEADER = ["order_id", "account_id", "showtime_id", "created_at", "total_amount"]
BUILD = (*DBT, "run", "--select", "+fct_weekly_sales", "+fct_transactions", "+dim_showtime")


def why(database: Database, *arguments: str) -> dict[str, Any]:
    done = database.run("bin/why", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout, parse_float=Decimal)


def deliver(database: Database, data: Path, name: str, rows: list[list[str]]) -> None:
    path = data / "incremental" / "tickets" / "orders" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    done = database.run("bin/ingest", "--data-dir", data)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def corrected(new_database: Callable, sample: Database, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The sample with a file that corrects one order of a week, moves another to the next week, and brings a third."""
    database, data = new_database(sample), tmp_path_factory.mktemp("data")
    [(batch,)] = database.query("select max(batch_id) from raw._batches")
    [(week, event)] = database.query(
        "select sales_week, event_id from marts.fct_weekly_sales where event_id <> 'unknown'"
        " order by order_count desc, sales_week, event_id limit 1"
    )
    orders = database.query(
        "select order_id, account_id, showtime_id, ordered_at, order_total_usd from marts.fct_orders"
        f" where sales_week = '{week}' and event_id = '{event}' order by order_id limit 2"
    )
    (one, two), showtime = orders, orders[0][2]
    rows = [
        [one[0], one[1], one[2], f"{one[3]:%Y-%m-%dT%H:%M:%SZ}", f"{one[4] + 10}"],
        [two[0], two[1], two[2], f"{two[3].replace(year=two[3].year + 1):%Y-%m-%dT%H:%M:%SZ}", f"{two[4]}"],
        ["o_new", one[1], showtime, f"{one[3]:%Y-%m-%dT%H:%M:%SZ}", "5.00"],
    ]
    deliver(database, data, "corrections.csv", rows)
    built = database.run(*BUILD)
    assert built.returncode == 0, built.stdout
    return {
        "database": database,
        "data": data,
        "since": str(batch),
        "key": (f"sales_week={week}", f"event_id={event}"),
        "one": one,
        "two": two,
    }


def test_each_line_is_named_with_its_effect(corrected: dict[str, Any]) -> None:
    database, one, two = corrected["database"], corrected["one"], corrected["two"]
    found = why(database, "fct_weekly_sales", *corrected["key"], "--since", corrected["since"])
    number = found["numbers"]["gross_sales_usd"]
    assert Decimal(number["now"]) - Decimal(number["then"]) == 10 - two[4] + 5
    assert {Decimal(each["unexplained"]) for each in found["numbers"].values()} == {0}
    effects = {
        (line["kind"], line["delivered"]["order_id"]): Decimal(line["effects"]["gross_sales_usd"])
        for line in found["lines"]
        if "total_amount" in line["delivered"] and line["kind"] != "counts differently"  # one of several of a buyer
    }
    assert effects == {("added", "o_new"): 5, ("corrected", one[0]): 10, ("moved away", two[0]): -two[4]}
    [line] = [line for line in found["lines"] if line["kind"] == "corrected"]
    assert (line["file"], line["line"]) == ("incremental/tickets/orders/corrections.csv", 2)
    path = ROOT / "data" / line["before"]["file"]
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    assert one[0] in text.decode("utf-8-sig").splitlines()[line["before"]["line"] - 1]


def test_it_is_shown_to_people(corrected: dict[str, Any]) -> None:
    shown = corrected["database"].run("bin/why", "fct_weekly_sales", *corrected["key"], "--since", corrected["since"])
    assert shown.returncode == 0, shown.stderr
    assert "\ncorrected: corrected since\n" in shown.stdout
    assert f"total_amount {corrected['one'][4]}" in shown.stdout or "total_amount" in shown.stdout
    assert f"year={corrected['two'][3].year + 1}" not in shown.stdout
    assert shown.stdout.endswith("the effects of the lines add up to each difference; 0 is unexplained\n")


def test_what_the_row_has_won_was_counted_elsewhere(corrected: dict[str, Any]) -> None:
    database, two = corrected["database"], corrected["two"]
    [(week, event)] = database.query(f"select sales_week, event_id from marts.fct_orders where order_id = '{two[0]}'")
    found = why(database, "fct_weekly_sales", f"sales_week={week}", f"event_id={event}", "--since", corrected["since"])
    assert found["then"]["row"] is None
    [order] = [line for line in found["lines"] if "total_amount" in line["delivered"]]
    assert (order["kind"], order["elsewhere"]) == ("moved here", " ".join(corrected["key"]))


def test_a_batch_that_was_taken_back(corrected: dict[str, Any]) -> None:
    """The file is delivered again, without the new order."""
    database, data = corrected["database"], corrected["data"]
    [(batch,)] = database.query("select max(batch_id) from raw._batches")
    path = data / "incremental" / "tickets" / "orders" / "corrections.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:3]) + "\n")
    assert database.run("bin/ingest", "--data-dir", data, "--replace", path).returncode == 0
    assert database.run(*BUILD, "--full-refresh").returncode == 0
    found = why(database, "fct_weekly_sales", *corrected["key"], "--since", str(batch))
    assert {Decimal(each["unexplained"]) for each in found["numbers"].values()} == {0}
    kinds = {line["kind"]: line["delivered"]["order_id"] for line in found["lines"]}
    assert kinds == {"taken back": "o_new", "corrected": corrected["one"][0]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fct_nothing", "--since", "28"), "there is no mart fct_nothing"),
        (("fct_orders", "order=1", "--since", "28"), "order=1: fct_orders needs COLUMN=VALUE"),
        (("fct_orders", "order_id=o_00001", "--since", "soon"), "invalid moment soon"),
        (("fct_weekly_sales", "event_id=e_01", "--since", "38"), "fct_weekly_sales has several rows with that"),
    ],
)
def test_a_question_without_an_answer(corrected: dict[str, Any], arguments: tuple[str, ...], message: str) -> None:
    done = corrected["database"].run("bin/why", *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
