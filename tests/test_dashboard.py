"""The dashboard: each page shows just what the marts hold, and says in words what keeps it from that."""

from __future__ import annotations

import csv
import datetime
import io
import re
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from psycopg2 import sql
from streamlit.testing.v1 import AppTest

from conftest import ROOT, Database, fetch, free_port, needs_sample, run_command
from dashboard import app, charts, columns, marts, page, sections
from granary import declared, project
from granary.declared import CORE, Column
from granary.project import GranaryError

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
        select close_of_date, asset_id, asset_name, close_price_usd, sma_7d_close, daily_return_pct
        from marts.fct_asset_prices_daily
        inner join marts.dim_asset using (asset_id)
        where
            close_of_date > (select max(close_of_date) - 56 from marts.fct_asset_prices_daily)
            and asset_id in (
                select asset_id from marts.fct_asset_prices_daily group by 1 order by max(market_cap_usd) desc limit 3
            )
        order by close_of_date desc, market_cap_usd desc
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
    CORE: [
        """
        select feed, date '2026-02-08' as data_until, max(finished_at) as last_loaded_at, count(*) as file_count,
            sum(rows_read_count) as rows_read_count, sum(rows_rejected_count) as rows_rejected_count
        from marts.load_audit
        group by feed
        order by feed
        """,
        """
        select feed, file_path, line_number, severity, column_name, delivered_value, reason,
            explanation
        from marts.rejected_rows
        order by _batch_id desc, line_number, column_name
        """,
        """
        select batch_id, feed, file_path, status, rows_read_count, rows_loaded_count, error, started_at
        from marts.load_audit
        order by batch_id desc
        """,
        "select started_at, command, status, models_built_count, tests_failed_count from marts.build_log",
        "select verdict, feed, finding from marts.rejected_shares order by batch_id desc, measured",
    ],
}
PAGES = {feed: app.title(feed) for feed in app.pages(declared.marts())}
SAMPLES = [pytest.param(feed, marks=pytest.mark.feeds(*{feed} - {CORE})) for feed in TABLES]


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
    use(warehouse, monkeypatch)
    return warehouse


def use(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pages show this database."""
    for name, value in database.environment.items():
        monkeypatch.setenv(name, value)


def show(feed: str) -> AppTest:
    """Open a page, which must not raise an exception."""
    shown = AppTest.from_string(f"from dashboard import app\napp.show({feed!r})", default_timeout=120).run()
    assert not shown.exception, shown.exception
    return shown


def problem(mart: str) -> str:
    """The heading above what keeps a mart from being shown."""
    return page.plain(f"{mart} can't be shown (meta.dashboard in {mart}.yml):")


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


@needs_sample
@pytest.mark.parametrize("feed", SAMPLES)
def test_a_page_shows_what_the_marts_hold(built: Database, feed: str) -> None:
    shown = show(feed)
    assert [title.value for title in shown.title] == [PAGES[feed]]
    assert not shown.error
    for table, query in zip(shown.dataframe, TABLES[feed], strict=True):
        names, expected = selected(built, query)
        assert len(expected) >= 1
        assert rows_of(table.value[names]) == expected


def test_the_dashboard_opens_with_its_first_page(built: Database) -> None:
    opened = AppTest.from_file(str(ROOT / "serving" / "dashboard" / "app.py"), default_timeout=120).run()
    assert not opened.exception
    assert [title.value for title in opened.title] == [next(iter(PAGES.values()))]
    assert list(PAGES) == [*sorted(PAGES.keys() - {CORE}), CORE]


def test_no_label_stands_twice_in_a_table() -> None:
    all_marts = declared.marts()
    for mart in (mart for shown in app.pages(all_marts).values() for mart in shown):
        labels = [columns.label(column) for column in sections.Section(mart, all_marts).table_columns]
        assert len(set(labels)) == len(labels), labels


@pytest.mark.parametrize(
    ("column", "label", "number_format"),
    [
        (Column("net_sales_usd", "numeric(38, 2)"), "net sales (USD)", "%,.2f"),
        (Column("price_usd", "numeric(38, 18)"), "price (USD)", "%,.10g"),
        (Column("change_24h_pct", "numeric(38, 6)"), "change 24h (%)", "%,.2f"),
        (Column("share", "numeric(38, 4)"), "share", "%,.4f"),
        (Column("weight", "double precision"), "weight", "%,.10g"),
        (Column("order_count", "bigint"), "orders", "%,d"),
        (Column("customer_id_count", "bigint"), "customer ids", "%,d"),
        (Column("category_count", "bigint"), "categories", "%,d"),
        (Column("rows_read_count", "bigint"), "rows read", "%,d"),
        (Column("batch_id", "bigint"), "batch id", "%d"),
        (Column("year", "integer"), "year", "%d"),
        (Column("started_at", "timestamp with time zone"), "started (UTC)", None),
        (Column("first_activity", "timestamp"), "first activity (UTC)", None),
        (Column("sales_date", "date"), "sales date", None),
        (Column("is_full_refresh", "boolean"), "full refresh", None),
        (Column("usd", "string"), "usd", None),
        (
            Column("sma_7d", "numeric(38, 18)", {"label": "average", "unit": "USD", "format": "%d"}),
            "average (USD)",
            "%d",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Column) else "",
)
def test_a_label_and_a_format_follow_from_name_and_type(column: Column, label: str, number_format: str | None) -> None:
    assert columns.label(column) == label
    assert (column.kind in ("integer", "number")) == bool(number_format)
    assert not number_format or columns.number_format(column) == number_format


@pytest.mark.feeds("courses", "market", "shop", "tickets")
def test_the_charts_draw_every_feed(built: Database) -> None:
    drawn = {feed: len(show(feed).get("vega_lite_chart")) for feed in TABLES}
    assert drawn == {"tickets": 1, "market": 6, "courses": 1, "shop": 1, CORE: 0}


def test_csv_has_every_digit_and_tells_no_null_from_nothing() -> None:
    rows = [[Decimal("0.000000000000000001"), 1, 'a "b", c', datetime.date(2026, 2, 3), None, True, Decimal("1E+3")]]
    text = page.as_csv(pd.DataFrame(rows, columns=list("abcdefg"), dtype=object)).decode()
    assert text == 'a,b,c,d,e,f,g\r\n0.000000000000000001,1,"a ""b"", c",2026-02-03,,true,1000\r\n'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\t=1", "\r=1"])
def test_no_text_of_a_download_is_a_formula(text: str) -> None:
    rows = pd.DataFrame([[text, Decimal("-1.50")]], columns=["a", "b"], dtype=object)
    read = list(csv.reader(io.StringIO(page.as_csv(rows).decode(), newline="")))
    assert read[1] == ["'" + text, "-1.50"]


def test_a_delivered_name_is_shown_as_it_is() -> None:
    assert page.plain("$Grain$ *2* :smile: [é]") == r"\$Grain\$ \*2\* \:smile\: \[é\]"


def test_what_shares_a_name_is_told_apart_by_its_id() -> None:
    names = charts.distinct_names(["a", "b", "c", "c"], ["same", "same", "other", "other"])
    assert names == ["same (a)", "same (b)", "other", "other"]


# -- Filters -----------------------------------------------------------------------------------------------------------


@pytest.mark.feeds("market", "shop", "tickets")
def test_dates_filter_the_rows(built: Database) -> None:
    cases = [("tickets", "sales_week", "fct_weekly_sales"), ("market", "close_of_date", "fct_asset_prices_daily")]
    for feed, column, mart in [*cases, ("shop", "sales_date", "fct_daily_sales")]:
        ((oldest, newest),) = built.query(f"select min({column}), max({column}) from marts.{mart}")
        shown = show(feed)
        shown.date_input(key=f"{mart}_{column}_from").set_value(oldest)
        shown.date_input(key=f"{mart}_{column}_to").set_value(newest - datetime.timedelta(days=21)).run()
        days = set(shown.dataframe[0].value[column])
        assert (min(days), max(days)) == (oldest, newest - datetime.timedelta(days=21))

        shown.date_input(key=f"{mart}_{column}_from").set_value(newest).run()
        assert [warning.value for warning in shown.warning] == [
            f"{newest} is after {newest - datetime.timedelta(days=21)}: choose an earlier first day."
        ]
        assert not shown.exception


@pytest.mark.feeds("courses", "market", "tickets")
def test_values_filter_the_rows(built: Database) -> None:
    cases = [
        ("tickets", "fct_weekly_sales", "event_id", ["e_01", "e_03"]),
        ("market", "fct_asset_prices_daily", "asset_id", ["sample-milletdale", "sample-oatgate"]),
        ("courses", "course_engagement", "category_name", ["Data"]),
    ]
    for feed, mart, column, chosen in cases:
        shown = show(feed)
        before = set(shown.dataframe[0].value[column])
        shown.multiselect(key=f"{mart}_{column}").set_value(chosen).run()
        assert not shown.exception
        assert set(shown.dataframe[0].value[column]) == set(chosen) != before


@pytest.mark.feeds("market")
def test_no_asset_is_no_error(built: Database) -> None:
    shown = show("market")
    shown.multiselect(key="fct_asset_prices_daily_asset_id").set_value([]).run()
    assert not shown.exception
    assert [info.value for info in shown.info] == ["No rows match these filters."]


@pytest.mark.feeds("shop")
def test_more_customers_can_be_shown(built: Database) -> None:
    shown = show("shop")
    shown.segmented_control(key="customer_lifetime_value_How many").set_value(25).run()
    assert [len(table.value) for table in shown.dataframe][1:] == [25, 10]


@needs_sample
def test_feed_and_severity_filter_what_was_rejected(built: Database) -> None:
    feed, count = built.query(
        "select feed, count(*) from marts.rejected_rows where severity = 'value' group by 1 order by 2 desc"
    )[0]
    shown = show(CORE)
    shown.multiselect(key="rejected_rows_feed").set_value([feed])
    shown.multiselect(key="rejected_rows_severity").set_value(["value"])
    shown.multiselect(key="load_audit_feed").set_value([feed]).run()
    rejected, loads = shown.dataframe[1].value, shown.dataframe[2].value
    assert (set(rejected["feed"]), set(rejected["severity"]), len(rejected)) == ({feed}, {"value"}, count)
    assert set(loads["feed"]) == {feed}


@needs_sample
def test_a_long_table_is_cut_and_says_so(built: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_ROWS", 7)
    shown = show(CORE)
    assert [len(table.value) for table in shown.dataframe][1:3] == [7, 7]
    said = [caption.value for caption in shown.caption if caption.value.startswith("The first 7 rows")]
    assert said == [
        f"The first 7 rows; `bin/report {mart}` writes all of them to a file."
        for mart in ("rejected_rows", "load_audit", "rejected_shares")
    ]


@needs_sample
def test_builds_of_another_copy_are_not_shown(
    warehouse: Database, new_database: Callable[[Database], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(database := new_database(warehouse), monkeypatch)
    database.query("alter schema marts rename to dev_marts")
    monkeypatch.setenv("GRANARY_SCHEMA_PREFIX", "dev_")
    shown = show(CORE)
    assert len(shown.dataframe) == 4  # freshness, rejected rows, loads, rejected shares
    assert [info.value for info in shown.info] == ["There are no rows yet. Run `bin/ingest`, then `bin/dbt build`."]


# -- A feed of one's own -----------------------------------------------------------------------------------------------

SOURCES = {
    "sources": [
        {
            "name": "bakery",
            "loader": "bin/ingest",
            "tables": [{"name": "loaves", "identifier": "bakery__loaves", "columns": [{"name": "baked_on"}]}],
        }
    ]
}
LOAVES = {
    "name": "fct_daily_loaves",
    "config": {"group": "bakery", "meta": {"dashboard": True, "data_until": "baked_on"}},
    "description": "One row per day and oven. Both ovens are old.",
    "constraints": [{"type": "primary_key", "columns": ["baked_on", "oven_id"]}],
    "columns": [
        {"name": "baked_on", "data_type": "date"},
        {"name": "oven_id", "data_type": "string"},
        {"name": "loaf_count", "data_type": "bigint"},
        {"name": "sales_usd", "data_type": "numeric(38, 2)"},
        {"name": "notes", "data_type": "jsonb"},
        {"name": "_batch_id", "data_type": "bigint"},
    ],
}
OVENS = {"name": "dim_oven", "config": {"group": "bakery"}, "columns": [{"name": "oven_id"}, {"name": "oven_name"}]}


@pytest.fixture(scope="module")
def baked(warehouse: Database, new_database: Callable[[Database], Database]) -> Database:
    """The sample data with the bakery's marts, as a build would leave them."""
    database = new_database(warehouse)
    database.query("create table marts.dim_oven as select 'o_1' as oven_id, 'The old one' as oven_name")
    database.query(
        "create table marts.fct_daily_loaves as"
        " select date '2026-01-01' + day as baked_on, 'o_' || oven as oven_id, 10 + day as loaf_count,"
        " 2.5 * day * oven as sales_usd, jsonb_build_object('day', day) as notes, 1 as _batch_id"
        " from generate_series(0, 99) as days (day), generate_series(1, 2) as ovens (oven)"
    )
    return database


@pytest.fixture
def bakery(baked: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Database:
    """A copy of the project in which the bakery is the only feed."""
    shutil.copytree(ROOT / "dbt" / "models" / "marts" / "quality", tmp_path / "dbt" / "models" / "marts" / "quality")
    monkeypatch.setattr(project, "ROOT", tmp_path)
    write_yaml(tmp_path / "dbt" / "models" / "staging" / "bakery" / "_bakery__sources.yml", SOURCES)
    declare()
    use(baked, monkeypatch)
    return baked


def write_yaml(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def declare(dashboard: Any = True, data_until: Any = "baked_on") -> None:
    """Declare how the bakery's page shows its mart."""
    mart = LOAVES | {"config": {"group": "bakery", "meta": {"dashboard": dashboard, "data_until": data_until}}}
    folder = project.ROOT / "dbt" / "models" / "marts" / "bakery"
    write_yaml(folder / "fct_daily_loaves.yml", {"models": [mart, OVENS]})


@pytest.mark.parametrize("dashboard", [True, dict.fromkeys(sections.SETTINGS)], ids=["true", "empty settings"])
def test_an_own_mart_is_shown_without_a_line_of_python(bakery: Database, dashboard: Any) -> None:
    declare(dashboard)
    opened = AppTest.from_file(str(ROOT / "serving" / "dashboard" / "app.py"), default_timeout=120).run()
    assert not opened.exception
    assert [title.value for title in opened.title] == ["Bakery"]
    assert [header.value for header in opened.subheader] == ["Daily loaves"]
    assert [caption.value for caption in opened.caption] == ["One row per day and oven"]
    shown = opened.dataframe[0].value
    assert list(shown.columns) == ["baked_on", "oven_id", "loaf_count", "sales_usd", "notes"]
    days = [datetime.date(2026, 4, 10) - datetime.timedelta(days=days) for days in range(56)]
    assert list(zip(shown["baked_on"], shown["oven_id"], strict=True)) == [(d, o) for d in days for o in ("o_1", "o_2")]
    assert shown["notes"].iloc[0] == '{"day": 99}'


def deliver(database: Database) -> None:
    """Write into the audit that the bakery delivered a file on 2026-05-01, and failed to deliver another one."""
    for status, rows in (("loaded", 7), ("failed", 9)):
        database.query(
            "insert into marts.load_audit (batch_id, feed, entity, file_path, status, rows_read_count, finished_at,"
            " started_at, lines_rejected_count, rows_loaded_count, rows_rejected_count, rows_staged_count,"
            " values_rejected_count, file_bytes, delivered_on)"
            " values (%s, 'bakery', 'loaves', 'a.csv', %s, %s, '2026-05-01 12:00+00', now(), 0, 0, 0, 0, 0, 0,"
            " '2026-05-02')",
            [900 + rows, status, rows],
        )


def test_an_own_feed_is_on_the_health_page(bakery: Database) -> None:
    deliver(bakery)
    freshness = show(CORE).dataframe[0].value.set_index("feed")
    found = freshness.loc["bakery", ["data_until", "last_loaded_at", "file_count", "rows_read_count"]].tolist()
    assert list(map(comparable, found)) == [datetime.date(2026, 4, 10), pd.Timestamp("2026-05-01 12:00+00"), 1, 7]
    for wrong in (True, ["baked_on"], "flour"):
        declare(data_until=wrong)
        shown = show(CORE)
        assert not shown.error
        assert pd.isna(shown.dataframe[0].value.set_index("feed").loc["bakery", "data_until"])


def test_a_date_far_ahead_hides_no_other(
    bakery: Database, new_database: Callable[[Database], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(changed := new_database(bakery), monkeypatch)
    changed.query("delete from marts.load_audit where feed = 'bakery'")
    deliver(changed)
    changed.query("insert into marts.fct_daily_loaves values ('9999-12-31', 'o_1', 1, 1, null, 1)")
    changed.query("insert into marts.fct_daily_loaves values ('2026-05-02', 'o_1', 1, 1, null, 1)")
    shown = show("bakery")
    days = shown.dataframe[0].value["baked_on"]
    assert (days.max(), days.min()) == (datetime.date(2026, 5, 2), datetime.date(2026, 3, 8))
    shown.date_input(key="fct_daily_loaves_baked_on_to").set_value(datetime.date(9999, 12, 31)).run()
    assert shown.dataframe[0].value["baked_on"].max() == datetime.date(9999, 12, 31)
    freshness = show(CORE).dataframe[0].value.set_index("feed")
    assert freshness.loc["bakery", "data_until"] == datetime.date(2026, 5, 2)
    changed.query(
        "delete from marts.fct_daily_loaves where baked_on <= '2026-05-02'"
    )  # nothing but the far day is left
    assert list(show("bakery").dataframe[0].value["baked_on"]) == [datetime.date(9999, 12, 31)]


def test_names_charts_and_filters_are_declared(bakery: Database) -> None:
    declare(
        {
            "title": "Loaves *and* more",
            "columns": ["oven_id", "loaf_count"],
            "names": {"oven_id": "dim_oven.oven_name"},
            "filters": [{"column": "oven_id", "largest_first": "sales_usd", "default": 1, "at_most": 1}],
            "sort": ["loaf_count desc"],
            "limit": [2, 3],
            "chart": {"kind": "lines", "x": "baked_on", "y": ["loaf_count", "sales_usd"], "each": "oven_id"},
        }
    )
    shown = show("bakery")
    assert not shown.error
    assert [header.value for header in shown.subheader] == [r"Loaves \*and\* more"]
    assert rows_of(shown.dataframe[0].value) == [("o_2", "o_2", 109), ("o_2", "o_2", 108)]  # has no name
    shown.multiselect[0].set_value(["o_1"])
    shown.segmented_control[0].set_value(3).run()
    assert rows_of(shown.dataframe[0].value)[0] == ("o_1", "The old one", 109)
    assert (len(shown.dataframe[0].value), len(shown.get("vega_lite_chart"))) == (3, 1)
    assert [text.value for text in shown.markdown] == ["#### The old one"]


BARS = {"kind": "bars", "x": "baked_on", "y": "loaf_count"}


@pytest.mark.parametrize(
    "chart",
    [
        BARS,
        BARS | {"color": "oven_id"},
        BARS | {"average": "sales_usd", "changes": "sales_usd"},
        {"kind": "ranks", "x": "loaf_count", "y": "oven_id", "most": 3},
        {"kind": "ranks", "x": "loaf_count", "y": "notes", "within": "sales_usd"},
    ],
)
def test_each_kind_of_chart_is_drawn(bakery: Database, chart: dict[str, Any]) -> None:
    declare({"chart": chart})
    shown = show("bakery")
    assert not shown.error
    assert len(shown.get("vega_lite_chart")) == 1 + ("changes" in chart)
    said = f"The chart shows the first {chart.get('most', 15)} rows."
    assert (said in [caption.value for caption in shown.caption]) == (chart["kind"] == "ranks")


WRONG = [
    ({"colour": "blue"}, "dashboard: unknown setting colour; choose from title, about,"),
    ({"columns": ["flour"]}, "column mart.flour does not exist. Correct meta.dashboard, or"),
    ({"filters": ["flour"]}, "column mart.flour does not exist. Correct meta.dashboard, or"),
    ({"sort": "baked_on down"}, "sort: unknown order down; choose from asc, desc"),
    ({"limit": "many"}, "can't read the marts: invalid input syntax for type bigint"),
    ({"names": {"oven_id": "dim_ovens.oven_name"}}, "such as dim_thing.thing_name; found dim_ovens.oven_name"),
    ({"names": {"oven_id": "fct_daily_loaves.notes"}}, "several rows per oven_id: its key is baked_on, oven_id"),
    ({"names": ["oven_id"]}, "names: expected `name: value`, found ['oven_id']"),
    ({"filters": [{"column": 5}]}, "column: expected the name of a column"),
    ({"filters": [{"column": "oven_id", "default": "all"}]}, "default: expected a number"),
    ({"chart": BARS | {"kind": "pie"}}, "chart: unknown kind pie; choose from bars, lines, ranks"),
    ({"filters": ["baked_on", {"columns": "oven_id"}]}, "filter: unknown setting columns; choose from column,"),
    ({"chart": {"kind": "bars", "x": "baked_on"}}, "y: expected the name of a column"),
    ({"chart": "bars"}, "chart: expected `name: value`, found 'bars'"),
    ("yes", "dashboard: expected `name: value`, found 'yes'"),
]


@pytest.mark.parametrize(("dashboard", "said"), WRONG, ids=[said for _, said in WRONG])
def test_a_wrong_declaration_costs_its_section_and_is_explained(bakery: Database, dashboard: Any, said: str) -> None:
    declare(dashboard)
    shown = show("bakery")
    assert [error.value for error in shown.error] == [problem("fct_daily_loaves")]
    assert said in shown.code[0].value


# -- What keeps a page from showing something --------------------------------------------------------------------------


@needs_sample
@pytest.mark.parametrize("feed", PAGES)
def test_a_page_without_rows_says_what_to_run(built: Database, feed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRANARY_SCHEMA_PREFIX", "empty_")
    shown = show(feed)
    assert not shown.error
    assert len(shown.dataframe) == (feed == CORE)  # the freshness of feeds that have none
    commands = ["bin/ingest" if feed == CORE else f"bin/ingest {feed}", "bin/dbt build"]
    assert {tuple(re.findall("`(.*?)`", info.value)) for info in shown.info} == {tuple(commands)}


@needs_sample
def test_a_mart_that_is_missing_costs_its_section_only(
    warehouse: Database, new_database: Callable[[Database], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    use(database := new_database(warehouse), monkeypatch)
    database.query("drop table marts.rejected_rows cascade")
    shown = show(CORE)
    assert [error.value for error in shown.error] == [problem("rejected_rows")]
    assert shown.code[0].value.splitlines()[0].startswith("not built yet (")
    assert shown.code[0].value.endswith("\nbin/dbt build")
    assert len(shown.dataframe) == 4  # freshness, loads, builds, rejected shares

    database.query("alter table marts.load_audit drop column values_rejected_count cascade")
    shown = show(CORE)
    assert len(shown.error) == 3
    assert shown.code[2].value.endswith("\nbin/dbt build --full-refresh")
    assert len(shown.dataframe) == 2  # builds, rejected shares


def test_a_warehouse_without_feeds_says_so(bakery: Database) -> None:
    for folder in ("staging", "marts/bakery"):
        shutil.rmtree(project.ROOT / "dbt" / "models" / folder)
    opened = AppTest.from_file(str(ROOT / "serving" / "dashboard" / "app.py"), default_timeout=120).run()
    assert not opened.exception
    assert [title.value for title in opened.title] == ["Data health"]
    assert "There are no feeds yet" in opened.info[0].value
    assert not opened.error


def test_yaml_that_cannot_be_read_is_named(bakery: Database) -> None:
    broken = project.ROOT / "dbt" / "models" / "marts" / "bakery" / "fct_daily_loaves.yml"
    broken.write_text("models: [\n")
    opened = AppTest.from_file(str(ROOT / "serving" / "dashboard" / "app.py"), default_timeout=120).run()
    assert not opened.exception
    assert opened.code[0].value.startswith(f"{broken}: not valid YAML")


@pytest.mark.parametrize("feed", PAGES)
def test_a_warehouse_that_is_not_built_says_what_to_run(database: Database, feed: str) -> None:
    shown = show(feed)
    assert [error.value for error in shown.error] == [r"The warehouse can\'t be shown\:"]
    assert shown.code[0].value == "there is no schema marts yet. Run:\n\nbin/ingest\nbin/dbt build"


def test_a_server_that_does_not_answer_is_said_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPORT", str(free_port()))
    shown = show(CORE)
    assert [error.value for error in shown.error] == [r"The warehouse can\'t be shown\:"]
    assert "no PostgreSQL server can be reached at PGHOST=127.0.0.1" in shown.code[0].value
    assert "docker compose up -d" in shown.code[0].value


def test_pages_read_only_marts_and_write_nothing(built: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GranaryError, match="read-only transaction"), marts.open_marts() as opened:
        opened.select(sql.SQL("create table public.mine (id integer)"))
    built.query("create role reads_marts login")
    try:
        built.query("grant usage on schema marts to reads_marts")
        built.query("grant select on all tables in schema marts to reads_marts")
        monkeypatch.setenv("PGUSER", "reads_marts")
        for feed in PAGES:
            assert not show(feed).error
    finally:
        built.query("drop owned by reads_marts")
        built.query("drop role reads_marts")


def test_a_query_that_takes_too_long_is_ended(built: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marts, "TIMEOUT_S", 1)
    with marts.open_marts() as opened:
        with pytest.raises(GranaryError, match="took longer than 1 s"):
            opened.select(sql.SQL("select pg_sleep(30)"))
        assert opened.select(sql.SQL("select 1")).iat[0, 0] == 1


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
@pytest.mark.feeds("courses", "market", "shop", "tickets")
def test_a_browser_opens_each_page_and_asks_nothing_of_the_network(page: Any, served: str, tmp_path: Path) -> None:
    page.goto(served)
    for feed, title in PAGES.items():
        page.get_by_role("link", name=title).click()
        page.get_by_role("heading", name=title, exact=True, level=1).wait_for()
        page.get_by_test_id("stDataFrame").first.wait_for()
        if feed != CORE:
            page.get_by_test_id("stVegaLiteChart").locator("canvas, svg").first.wait_for()
        assert page.get_by_test_id("stException").count() == 0
    page.goto(f"{served}/shop")
    page.get_by_role("button", name="Download CSV").nth(2).wait_for()  # tables move down while others appear above
    with page.expect_download() as download:
        page.locator(".st-key-fct_daily_sales_csv button").click()
    download.value.save_as(tmp_path / "shop.csv")
    rows = list(csv.DictReader(io.StringIO((tmp_path / "shop.csv").read_text())))
    assert len(rows) == 56
    assert rows[0]["net_sales_usd"] == "1406.1500"
