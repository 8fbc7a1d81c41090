"""The dashboard: each page shows just what the marts hold, and says in words what keeps it from that."""

from __future__ import annotations

import csv
import datetime
import inspect
import io
import re
import signal
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from conftest import ROOT, Database, fetch, free_port, run_command
from dashboard import queries, shared
from dashboard.app import PAGES
from granary.project import GranaryError

pytestmark = pytest.mark.feeds("courses", "market", "shop", "tickets")
# What each table of a page shows at first: some of its columns, in the order of its rows.
TABLES = {
    "tickets": [
        """
        select sales_week, event_id, order_count, buyer_count, gross_sales_usd, collected_usd, average_order_usd
        from marts.fct_weekly_sales
        where sales_week > (select max(sales_week) - 56 from marts.fct_weekly_sales)
        order by sales_week desc, gross_sales_usd desc, event_id
        """
    ],
    "market": [
        """
        select price_date, asset_id, close_price_usd, sma_7d_close, daily_return_pct
        from marts.fct_asset_prices_daily
        inner join (
            select asset_id, leaderboard_rank
            from marts.asset_leaderboard
            where asset_id in (select asset_id from marts.fct_asset_prices_daily)
            order by leaderboard_rank
            limit 3
        ) as largest using (asset_id)
        where price_date > (select max(price_date) - 56 from marts.fct_asset_prices_daily)
        order by price_date desc, leaderboard_rank
        """,
        """
        select leaderboard_rank, asset_id, price_usd, change_24h_pct, market_cap_usd, total_volume_usd, snapshot_at
        from marts.asset_leaderboard
        order by leaderboard_rank
        """,
    ],
    "courses": [
        """
        select course_id, category_name, learners, active_learners, engagement_rate, total_videos_completed,
            total_quizzes_completed, total_events, session_count, first_activity, last_activity
        from marts.course_engagement
        order by learners desc, course_id
        """
    ],
    "shop": [
        """
        select sales_date, order_count, customer_count, units, gross_sales_usd, discount_usd, returns_usd,
            net_sales_usd, net_sales_7d_avg_usd, average_order_usd
        from marts.fct_daily_sales
        where sales_date > (select max(sales_date) - 56 from marts.fct_daily_sales)
        order by sales_date desc
        """,
        """
        select customer_id, customer_name, rfm_segment, order_count, net_revenue_usd, predicted_12_month_value_usd
        from marts.customer_lifetime_value
        order by net_revenue_usd desc nulls last, customer_id
        limit 10
        """,
        """
        select revenue_rank, product_id, units, returned_units, net_revenue_usd, margin_pct
        from marts.product_performance
        order by revenue_rank nulls last, product_id
        limit 10
        """,
    ],
    "health": [
        """
        select feed, max(finished_at) as last_loaded_at, count(*) as file_count,
            sum(rows_read_count) as rows_read_count, sum(rows_quarantined_count) as rows_quarantined_count
        from marts.load_audit
        group by feed
        order by feed
        """,
        """
        select feed, file_path, line_number, severity, column_name, delivered_value, reason
        from marts.rejected_rows
        order by _batch_id desc, line_number, column_name
        """,
        """
        select batch_id, feed, file_path, status, rows_read_count, rows_loaded_count, error, started_at
        from marts.load_audit
        order by batch_id desc
        """,
        "select started_at, command, status, models_built_count, tests_failed_count from marts.build_log",
    ],
}
HEADINGS = {name: title for name, (title, _, _) in PAGES.items()}


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[Database], Database], sample: Database) -> Database:
    """The sample data, built; and beside it, under the prefix empty_, the same marts without rows."""
    database = new_database(sample)
    database.query("create schema empty_marts")
    for (name,) in database.query("select table_name from information_schema.tables where table_schema = 'marts'"):
        database.query(f"create table empty_marts.{name} (like marts.{name})")
    return database


@pytest.fixture
def built(warehouse: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The sample data, where the pages look for them."""
    for name, value in warehouse.environment.items():
        monkeypatch.setenv(name, value)
    return warehouse


def show(name: str) -> AppTest:
    """Open a page, which must not raise an exception."""
    page = AppTest.from_string(f"from dashboard import app\napp.show({name!r})", default_timeout=120).run()
    assert not page.exception, page.exception
    return page


def rows_of(table: pd.DataFrame) -> list[tuple]:
    return [tuple(map(comparable, row)) for row in table.itertuples(index=False)]


def comparable(value: Any) -> Any:
    """The value in one notation: null is None, and times are in UTC."""
    if pd.isna(value):
        return None
    if isinstance(value, datetime.datetime):
        return pd.Timestamp(value).tz_convert("UTC") if value.tzinfo else pd.Timestamp(value)
    return Decimal(repr(value)) if isinstance(value, float) else value


def selected(database: Database, query: str) -> tuple[list[str], list[tuple]]:
    """The names of the columns of a query, and its rows."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(query)
        names, rows = [column.name for column in cursor.description], cursor.fetchall()
    connection.close()
    return names, [tuple(map(comparable, row)) for row in rows]


# -- What the pages show -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_shows_what_the_marts_hold(built: Database, name: str) -> None:
    page = show(name)
    assert [title.value for title in page.title] == [HEADINGS[name]]
    assert not page.error
    for table, query in zip(page.dataframe, TABLES[name], strict=True):
        columns, expected = selected(built, query)
        assert len(expected) >= 1
        assert rows_of(table.value[columns]) == expected


def test_the_dashboard_opens_with_its_first_page(built: Database) -> None:
    page = AppTest.from_file(str(ROOT / "serving" / "dashboard" / "app.py"), default_timeout=120).run()
    assert not page.exception
    assert [title.value for title in page.title] == ["Tickets"]


def test_every_column_has_a_label_of_its_own(built: Database) -> None:
    for name in PAGES:
        for table in show(name).dataframe:
            for column in table.value.columns:
                unit = {"usd": "USD", "pct": "%", "at": "UTC"}.get(column.rpartition("_")[2], "")
                assert unit in shared.label(column), column
                labels = [shared.label(other) for other in table.value.columns]
                assert len(set(labels)) == len(labels), labels


def test_the_charts_draw_every_feed(built: Database) -> None:
    drawn = {name: len(show(name).get("vega_lite_chart")) for name in PAGES}
    assert drawn == {"tickets": 1, "market": 6, "courses": 1, "shop": 1, "health": 0}


def test_csv_has_every_digit_and_tells_no_null_from_nothing() -> None:
    rows = [[Decimal("0.000000000000000001"), 1, 'a "b", c', datetime.date(2026, 2, 3), None, True, Decimal("1E+3")]]
    text = shared.as_csv(pd.DataFrame(rows, columns=list("abcdefg"), dtype=object)).decode()
    assert text == 'a,b,c,d,e,f,g\n0.000000000000000001,1,"a ""b"", c",2026-02-03,,true,1000\n'


def test_a_delivered_name_is_shown_as_it_is() -> None:
    assert shared.plain("$Grain$ *2* :smile: [é]") == r"\$Grain\$ \*2\* \:smile\: \[é\]"


def test_what_shares_a_name_is_told_apart_by_its_id() -> None:
    rows = pd.DataFrame([("a", "same"), ("b", "same"), ("c", "other"), ("c", "other")], columns=["id", "name"])
    assert shared.own_names(rows, "id", "name") == ["same (a)", "same (b)", "other", "other"]


# -- Filters -----------------------------------------------------------------------------------------------------------


def test_dates_filter_the_rows(built: Database) -> None:
    cases = [("tickets", "sales_week", "fct_weekly_sales"), ("market", "price_date", "fct_asset_prices_daily")]
    for name, column, mart in [*cases, ("shop", "sales_date", "fct_daily_sales")]:
        ((oldest, newest),) = built.query(f"select min({column}), max({column}) from marts.{mart}")
        page = show(name)
        page.date_input(key=f"{name}_from").set_value(oldest)
        page.date_input(key=f"{name}_to").set_value(newest - datetime.timedelta(days=21)).run()
        days = set(page.dataframe[0].value[column])
        assert (min(days), max(days)) == (oldest, newest - datetime.timedelta(days=21))

        page.date_input(key=f"{name}_from").set_value(newest).run()
        assert [warning.value for warning in page.warning] == [
            f"{newest} is after {newest - datetime.timedelta(days=21)}: choose an earlier first day."
        ]
        assert not page.exception


def test_events_assets_and_categories_filter_the_rows(built: Database) -> None:
    cases = [
        ("tickets", "tickets_events", "event_id", ["e_01", "e_03"]),
        ("market", "market_assets", "asset_id", ["sample-milletdale", "sample-oatgate"]),
        ("courses", "courses_categories", "category_name", ["Data"]),
    ]
    for name, key, column, chosen in cases:
        page = show(name)
        before = set(page.dataframe[0].value[column])
        page.multiselect(key=key).set_value(chosen).run()
        assert not page.exception
        assert set(page.dataframe[0].value[column]) == set(chosen) != before


def test_no_asset_is_no_error(built: Database) -> None:
    page = show("market")
    page.multiselect(key="market_assets").set_value([]).run()
    assert not page.exception
    assert [info.value for info in page.info] == ["Nothing fits these filters."]


def test_more_customers_can_be_shown(built: Database) -> None:
    page = show("shop")
    page.segmented_control(key="shop_count").set_value(25).run()
    assert [len(table.value) for table in page.dataframe][1:] == [25, 25]


def test_feed_and_severity_filter_what_was_rejected(built: Database) -> None:
    page = show("health")
    page.selectbox(key="health_feed").set_value("shop")
    page.selectbox(key="health_severity").set_value("value").run()
    rejected, loads = page.dataframe[1].value, page.dataframe[2].value
    (count,) = built.query("select count(*) from marts.rejected_rows where feed = 'shop' and severity = 'value'")[0]
    assert (set(rejected["feed"]), set(rejected["severity"]), len(rejected)) == ({"shop"}, {"value"}, count)
    assert set(loads["feed"]) == {"shop"}


def test_a_long_table_is_cut_and_says_so(built: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared, "MOST_ROWS", 7)
    page = show("health")
    assert [len(table.value) for table in page.dataframe][1:3] == [7, 7]
    said = "The first 7 rows; `bin/report` writes all of a mart to a file."
    assert [caption.value for caption in page.caption].count(said) == 2


# -- What keeps a page from showing something --------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_a_page_without_rows_says_what_to_run(built: Database, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANARY_SCHEMA_PREFIX", "empty_")
    page = show(name)
    assert not page.dataframe
    assert not page.error
    commands = ["bin/ingest" if name == "health" else f"bin/ingest {name}", "bin/dbt build"]
    assert re.findall("`(.*?)`", page.info[0].value) == commands


@pytest.mark.parametrize("name", PAGES)
def test_a_warehouse_that_is_not_built_says_what_to_run(database: Database, name: str) -> None:
    page = show(name)
    assert [error.value for error in page.error] == ["The warehouse can't be shown:"]
    assert "isn't built yet: bin/ingest, then bin/dbt build" in page.code[0].value


def test_a_server_that_does_not_answer_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(free_port()))
    page = show("shop")
    assert [error.value for error in page.error] == ["The warehouse can't be shown:"]
    assert "no PostgreSQL server can be reached at PGHOST=127.0.0.1" in page.code[0].value
    assert "docker compose up -d" in page.code[0].value


def test_nothing_can_be_written(database: Database) -> None:
    with pytest.raises(GranaryError, match="read-only transaction"), queries.open_marts() as marts:
        marts.select("create table public.mine (id integer)")


def test_a_query_that_takes_too_long_is_ended(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "TIMEOUT_S", 1)
    with pytest.raises(GranaryError, match="took longer than 1 s"), queries.open_marts() as marts:
        marts.select("select pg_sleep(30)")


def test_each_query_reads_only_marts() -> None:
    texts = [
        text for _, text in inspect.getmembers(queries, lambda member: isinstance(member, str)) if "{marts}" in text
    ]
    assert len(texts) >= 15
    for text in texts:
        read = re.findall(r"\b(?:from|join) (?!\(select distinct)([a-z_.{}]+)", text)
        assert {name for name in read if not name.startswith("{marts}.")} <= {"newest"}, text
    pages = [path.read_text() for path in (ROOT / "serving" / "dashboard").glob("*.py") if path.stem != "queries"]
    assert not any(re.search(r"\bselect\b.*\bfrom\b|connect\(", text) for text in pages)


# -- bin/dashboard -----------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_command("bin/dashboard", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert done.stderr.startswith("error: can't serve at 127.0.0.1, port ")
    assert done.stderr.endswith("Address already in use; choose with --host and --port\n")


@pytest.fixture
def served(warehouse: Database) -> Iterator[str]:
    """The address of a dashboard that is served."""
    port = free_port()
    with warehouse.start("bin/dashboard", "--port", port) as server:
        assert b"<title>" in fetch(f"http://127.0.0.1:{port}/", server)
        yield f"http://127.0.0.1:{port}"
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=30)


def test_it_is_served(served: str) -> None:
    assert served.startswith("http://127.0.0.1:")


@pytest.mark.browser
def test_a_browser_opens_each_page_and_asks_nothing_of_the_network(page: Any, served: str, tmp_path: Path) -> None:
    page.goto(served)
    for name, title in HEADINGS.items():
        page.get_by_role("link", name=title).click()
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        page.get_by_test_id("stDataFrame").first.wait_for()
        if name != "health":
            page.get_by_test_id("stVegaLiteChart").locator("canvas, svg").first.wait_for()
        assert page.get_by_test_id("stException").count() == 0
    page.goto(f"{served}/shop")
    page.get_by_role("button", name="Download CSV").nth(2).wait_for()  # tables move down while others appear above
    with page.expect_download() as download:
        page.locator(".st-key-daily_sales_csv button").click()
    download.value.save_as(tmp_path / "shop.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "shop.csv").read_text())))
    assert len(rows) == 56
    assert rows[0]["net_sales_usd"] == "1406.15"
