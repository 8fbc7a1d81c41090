"""The market feed, from sample data to marts: numbers computed again in Python, and what a late price changes."""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from conftest import Database

PRICES = "select *, xmin::text from marts.fct_asset_prices_daily"  # xmin tells a row that was written again
CORRECTED = "sample-oatwick"


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Database:
    database = new_database()
    run(database, "bin/ingest", "market")
    run(database, "bin/dbt", "--quiet", "build", "--select", "group:market", "tag:ledger")
    return database


def run(database: Database, *command: str | Path) -> None:
    done = database.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def closes_in_raw(warehouse: Database) -> dict[str, dict[date, Decimal]]:
    """The last delivered price at midnight of each asset and day, from the raw rows, without any SQL of the models."""
    columns = "asset_id, price_date, close_price_usd, source_ts_ms"
    raw = warehouse.query(f"select {columns} from raw.market__coin_price_history order by _row_id")
    closes: dict[str, dict[date, Decimal]] = {}
    for asset_id, price_date, close, milliseconds in ([(value or "").strip() for value in row] for row in raw):
        try:
            day, price, moment = date.fromisoformat(price_date), Decimal(close), int(milliseconds)
        except (ValueError, ArithmeticError):
            continue
        midnight = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        if asset_id and price.is_finite() and 0 < price < 10**9 and moment == midnight:
            closes.setdefault(asset_id, {})[day] = price
    return closes


def check_prices(warehouse: Database) -> None:
    """Computes every row of fct_asset_prices_daily again from the raw rows."""
    rows = warehouse.query(
        "select asset_id, price_date, close_price_usd, daily_return_pct, sma_7d_close, volatility_30d_pct"
        " from marts.fct_asset_prices_daily"
    )
    actual = {(asset, day): values for asset, day, *values in rows}
    expected = {}
    for asset_id, by_day in closes_in_raw(warehouse).items():
        days = sorted(by_day)
        closes = [by_day[day] for day in days]
        returns = [None] + [100 * (close / before - 1) for before, close in pairwise(closes)]
        for position, day in enumerate(days):
            week, month = closes[max(position - 6, 0) : position + 1], returns[max(position - 29, 1) : position + 1]
            mean = sum(month) / len(month) if month else None
            volatility = (sum((change - mean) ** 2 for change in month) / 29).sqrt() if len(month) == 30 else None
            average = sum(week) / 7 if len(week) == 7 else None
            expected[asset_id, day] = (closes[position], returns[position], average, volatility)
    assert actual.keys() == expected.keys()
    assert len(actual) > 850
    for key, values in expected.items():
        for value, other in zip(values, actual[key], strict=True):
            assert (value is None) == (other is None), key
            assert value is None or abs(value - other) < Decimal("0.000002"), (key, value, other)


def test_prices_are_those_of_the_raw_rows_computed_by_hand(warehouse: Database) -> None:
    check_prices(warehouse)


def test_five_best_returns_of_the_last_30_days(warehouse: Database) -> None:
    closes = closes_in_raw(warehouse)
    last_day = max(day for by_day in closes.values() for day in by_day)
    returns = []
    for asset_id, by_day in closes.items():
        days = sorted(by_day)
        for before, day in pairwise(days):
            if day > last_day - timedelta(days=30):
                returns.append((round(100 * (by_day[day] / by_day[before] - 1), 4), asset_id, day))
    best = warehouse.query(
        "select round(daily_return_pct, 4), asset_id, price_date from marts.fct_asset_prices_daily"
        " where price_date > (select max(price_date) - 30 from marts.fct_asset_prices_daily)"
        " order by daily_return_pct desc nulls last limit 5"
    )
    assert best == sorted(returns, reverse=True)[:5]


def test_leaderboard_is_the_fifty_largest_of_the_latest_snapshot(warehouse: Database) -> None:
    raw = warehouse.query(
        "select asset_id, market_cap_usd::numeric from raw.market__coin_markets_snapshot"
        " where ingested_at_ts like '2026-02-08%' and market_cap_usd ~ '^[0-9.]+$'"
    )
    caps = {asset_id.strip(): cap for asset_id, cap in raw}
    largest = sorted(caps, key=lambda asset_id: -caps[asset_id])[:50]
    board = warehouse.query(
        "select asset_id, market_dominance_pct from marts.asset_leaderboard order by leaderboard_rank"
    )
    assert [asset_id for asset_id, _ in board] == largest
    for asset_id, dominance in board:
        assert abs(dominance - 100 * caps[asset_id] / sum(caps.values())) < Decimal("0.000001")


def test_names_symbols_and_segments_have_the_ranges_of_the_stories(warehouse: Database) -> None:
    ranges = warehouse.query(
        "select asset_id, symbol, asset_name, market_segment, valid_from::date::text from marts.dim_asset_history"
        " where asset_id in (select asset_id from marts.dim_asset_history where not is_current) order by 1, 5"
    )
    assert ranges == [
        ("sample-barleyholm", "barhol", "Barleyholm", "mid_cap", "2026-01-18"),
        ("sample-barleyholm", "barhol", "Barleyholm", "large_cap", "2026-01-25"),
        ("sample-einkornwick", "einwic", "Einkornwick", "large_cap", "2026-01-18"),
        ("sample-einkornwick", "einwic", "Einkornwick", "mid_cap", "2026-01-25"),
        ("sample-oatgate", "oatgat", "Oatgate", "mid_cap", "2026-01-18"),
        ("sample-oatgate", "oatgatx", "Oatgate", "mid_cap", "2026-01-25"),
        ("sample-oatmere", "oatmer", "Oatmere", "mid_cap", "2026-01-18"),
        ("sample-oatmere", "oatmer", "Oatmere Network", "mid_cap", "2026-02-01"),
        ("sample-sorghumbury", "sorbur", "Sorghumbury", "mid_cap", "2026-01-18"),
        ("sample-sorghumbury", "sorbur", "Sorghumbury", "small_cap", "2026-02-01"),
        ("sample-teffbury", "tefbur", "Teffbury", "small_cap", "2026-01-18"),
        ("sample-teffbury", "tefbur", "Teffbury", "mid_cap", "2026-02-01"),
    ]


@pytest.mark.parametrize(
    ("price_date", "close", "moment", "changed_count"),
    [
        ("2025-12-01", "5000", 0, 31),  # the day itself, and the 30 days whose volatility counts its return
        ("2026-02-06", "5000", 0, 3),  # there are but two days after it
        ("2025-11-10", "5000", 0, 31),  # a late day before the first: new, and 30 days gain a return before them
        ("2026-02-07", "5000", 1, 0),  # a price within the day changes nothing
    ],
)
def test_a_delivered_day_changes_just_the_rows_that_depend_on_it(
    warehouse: Database, tmp_path: Path, price_date: str, close: str, moment: int, changed_count: int
) -> None:
    before = Counter(warehouse.query(PRICES))
    milliseconds = int(datetime.fromisoformat(f"{price_date}T00:00:00+00:00").timestamp() * 1000) + moment
    path = tmp_path / "incremental" / "market" / "coin_price_history" / f"{price_date}.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        "asset_id,price_date,close_price_usd,market_cap_usd,total_volume_usd,source_ts_ms\n"
        f"{CORRECTED},{price_date},{close},1,1,{milliseconds}\n"
    )
    run(warehouse, "bin/ingest", "--data-dir", tmp_path)
    run(warehouse, "bin/dbt", "--quiet", "run", "--select", "group:market", "tag:ledger")
    changed = Counter(warehouse.query(PRICES)) - before
    assert changed.total() == changed_count
    assert {row[0] for row in changed} <= {CORRECTED}
    check_prices(warehouse)
