"""bin/trace: every number is taken apart into delivered lines, which are read again from the files themselves."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Database, needs_sample
from granary import declared
from granary.traces import BUILDS, step_of

pytestmark = needs_sample


def traced(database: Database, *arguments: str) -> dict[str, Any]:
    done = database.run("bin/trace", *arguments, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout, parse_float=Decimal)


def line_of(file: str, number: int) -> str:
    path = ROOT / "data" / file
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return text.decode("utf-8-sig", "replace").splitlines()[number - 1]


def test_every_number_and_row_of_every_mart_comes_from_lines(sample: Database) -> None:
    done = sample.run("bin/trace", "--check")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    marts = [mart for mart in declared.marts().values() if mart.grain and mart.meta.get("trace") != BUILDS]
    assert done.stdout.startswith(f"{len(marts)} marts, "), done.stdout
    numbers = int(done.stdout.split(" marts, ")[1].split(" numbers")[0].replace(",", ""))
    assert numbers > 3000


@pytest.mark.feeds("tickets")
def test_a_number_is_taken_apart_into_lines_of_files(sample: Database) -> None:
    [(week, event, sales, collected)] = sample.query(
        "select sales_week, event_id, gross_sales_usd, collected_usd from marts.fct_weekly_sales"
        " order by collected_usd <> gross_sales_usd desc, order_count desc limit 1"
    )
    found = traced(sample, "fct_weekly_sales", f"sales_week={week}", f"event_id={event}", "--limit", "1000")
    by_number = {number: part for part in found["parts"] for number in part["numbers"]}
    for number, source, column, cell in (
        ("gross_sales_usd", "orders", "total_amount", sales),
        ("collected_usd", "transactions", "amount", collected),
    ):
        lines = by_number[number]["lines"]
        assert sum(Decimal(line["shares"][number]) for line in lines) == cell
        assert len(lines) == by_number[number]["count"] > 1
        for line in lines:
            assert f"/{source}" in line["file"]
            text = line_of(line["file"], line["line"])
            assert line["delivered"][column] in text or line["delivered"][column].replace('"', '""') in text


@pytest.mark.feeds("shop")
def test_each_line_is_the_one_that_lies_in_the_file(sample: Database) -> None:
    places = set()
    days = sample.query("select sales_date, net_sales_usd from marts.fct_daily_sales order by units desc limit 8")
    for day, net_sales in days:
        [part] = [
            part
            for part in traced(sample, "fct_daily_sales", f"sales_date={day}", "--limit", "1000")["parts"]
            if part["numbers"]
        ]
        assert sum(Decimal(line["shares"]["net_sales_usd"]) for line in part["lines"]) == net_sales
        for line in part["lines"]:
            assert (line["file"], line["line"]) not in places
            places.add((line["file"], line["line"]))
            assert line["delivered"]["order_id"] in line_of(line["file"], line["line"])
    assert len(places) > 100


def test_a_row_is_shown_with_the_lines_that_carry_most(sample: Database) -> None:
    [(file, line, batch)] = sample.query(
        "select batches.file_path, 2, batch_id from marts.load_audit as batches"
        " where status = 'loaded' and rows_staged_count > 30 and file_path like '%.csv' order by batch_id limit 1"
    )
    shown = sample.run("bin/trace", "load_audit", f"batch_id={batch}")
    assert shown.returncode == 0, shown.stderr
    assert f"data/{file}" in shown.stdout
    became = sample.run("bin/trace", "--file", f"data/{file}", "--line", str(line))
    assert became.returncode == 0, became.stderr
    assert became.stdout.startswith(f"data/{file}:2 (batch {batch}, loaded ")
    assert "part of " in became.stdout


@pytest.mark.feeds("tickets")
def test_what_became_of_a_line(sample: Database) -> None:
    """A rejected line, a rejected row, a superseded version and its successor, and a header."""
    [(file, line)] = sample.query(
        "select path, line_number from raw._rejected_lines inner join raw._batches using (batch_id) limit 1"
    )
    assert "rejected: the line: " in sample.run("bin/trace", "--file", f"data/{file}", "--line", str(line)).stdout

    [(file, line, column)] = sample.query(
        "select file_path, line_number, column_name from marts.rejected_rows"
        " where severity = 'row' and _row_id is not null order by rejection_id limit 1"
    )
    found = traced(sample, "--file", file, "--line", str(line))
    assert found["rejections"][0]["column"] == column
    assert found["marts"] == [] or {each["mart"] for each in found["marts"]} <= {
        "rejected_rows",
        "money_reconciliation",
    }

    [(old, new)] = sample.query("""
        select older._row_id, newer._row_id from intermediate.int_tickets__order_versions as older
        inner join intermediate.int_tickets__order_versions as newer using (order_id)
        where not older.is_current and newer.is_current order by 1 limit 1
    """)
    places = {}
    for row in (old, new):
        [(file, line)] = sample.query(f"""
            select path, {row} - first_row_id + 1 from raw._batches
            where first_row_id <= {row} and status = 'loaded' order by first_row_id desc limit 1
        """)
        places[row] = (file, line)
    superseded = traced(sample, "--file", places[old][0], "--line", str(places[old][1]))
    assert (superseded["superseded_by"]["file"], superseded["superseded_by"]["line"]) == places[new]
    assert "fct_orders" not in {each["mart"] for each in superseded["marts"]}
    current = traced(sample, "--file", places[new][0], "--line", str(places[new][1]))
    assert current["superseded_by"] is None
    weekly = [each for each in current["marts"] if each["mart"] == "fct_weekly_sales"]
    assert weekly[0]["rows"][0]["shares"]["order_count"] == 1

    header = sample.run("bin/trace", "--file", "initial/tickets/orders.csv", "--line", "1")
    assert (header.returncode, "holds no row: a header" in header.stdout) == (0, True)


@pytest.mark.feeds("tickets")
def test_what_does_not_add_up_is_named(new_database: Callable, sample: Database) -> None:
    database = new_database(sample)
    database.query("""
        update marts.fct_weekly_sales set gross_sales_usd = gross_sales_usd + 0.01
        where (sales_week, event_id) = (select sales_week, event_id from marts.fct_weekly_sales order by 1, 2 limit 1)
    """)
    database.query("insert into marts.dim_page_type values ('ghost', 'unmapped', 'unmapped', false)")
    [(week, event)] = database.query("select sales_week, event_id from marts.fct_weekly_sales order by 1, 2 limit 1")
    checked = database.run("bin/trace", "--check")
    assert checked.returncode == 1
    assert f"fct_weekly_sales sales_week={week} event_id={event}: gross_sales_usd is " in checked.stdout
    assert "dim_page_type page_type=ghost: comes from no line" in checked.stdout
    assert "1 differ, 1 row without a line" in checked.stdout
    shown = database.run("bin/trace", "fct_weekly_sales", f"sales_week={week}", f"event_id={event}")
    assert (shown.returncode, "but its lines add up to" in shown.stdout) == (1, True)


@pytest.mark.feeds("tickets")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "nothing to trace: name a mart and its row, or a file and its line; see bin/trace --help"),
        (("fct_nothing",), "there is no mart fct_nothing: choose from "),
        (("fct_orders", "order_id"), "order_id: fct_orders needs COLUMN=VALUE, with one of its columns: order_id, "),
        (("fct_orders", "week=1"), "week=1: fct_orders needs COLUMN=VALUE"),
        (("fct_weekly_sales", "sales_week=soon"), "sales_week is of the type date, which can't be 'soon'"),
        (("fct_orders", "order_id=none"), "fct_orders has no row with order_id=none"),
        (("fct_weekly_sales",), "choose one\n  bin/trace fct_weekly_sales sales_week="),
        (("--file", "data/none.csv"), "a line needs --file PATH and --line N"),
        (("--file", "data/none.csv", "--line", "2"), "no file data/none.csv has been loaded."),
        (("--file", "orders.csv", "--line", "2"), "Did you mean"),
    ],
)
def test_a_question_without_an_answer_gets_the_way_out(
    sample: Database, arguments: tuple[str, ...], message: str
) -> None:
    done = sample.run("bin/trace", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr


def test_nothing_is_loaded_yet(database: Database) -> None:
    done = database.run("bin/trace", "--check")
    assert (done.returncode, done.stderr) == (1, "error: nothing has been loaded yet: bin/ingest\n")


def test_a_trace_takes_only_what_it_knows() -> None:
    assert step_of({"from": "fct_lines", "by": ["order_id"], "sums": {"n": 1}}).by == {"order_id": "order_id"}
    with pytest.raises(ValueError, match="summs"):
        step_of({"from": "fct_lines", "summs": {}})


@pytest.mark.parametrize(
    "path", sorted((ROOT / "dbt" / "models" / "marts").glob("*/*.yml")), ids=lambda path: path.stem
)
def test_each_mart_says_where_its_rows_come_from(path: Path) -> None:
    mart = declared.marts().get(path.stem)
    if mart and mart.grain:
        assert "trace" in mart.meta or "_row_id" in {column.name for column in mart.columns}, (
            f"{path}: needs meta.trace"
        )
