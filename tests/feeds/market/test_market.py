"""The market feed, from sample data to marts: numbers computed again in Python, and what a late price changes."""

import csv
import random
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from conftest import DBT, MODELS_ONLY, NO_LIMITS, Database
from copies import FULL, apart, differences
from feeds.market.coingecko import DAY
from granary.feeds.market.extract import HISTORY, REQUEST, SNAPSHOT

PRICES = "select *, xmin::text from marts.fct_asset_prices_daily"  # xmin tells a row that was written again
CORRECTED, WITH_A_GAP = "sample-oatwick", "sample-oatgate"
HOUR = 3_600_000  # milliseconds
ONE_DAY = timedelta(days=1)


class Close(NamedTuple):
    """A row of fct_asset_prices_daily as it should be."""

    price: Decimal
    price_date: date
    is_midnight: bool


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Database:
    database = new_database()
    run(database, "bin/ingest", "market")
    run(database, *DBT, "build", *NO_LIMITS, "--select", "group:market", "tag:ledger")
    return database


def run(database: Database, *command: str | Path, prefix: str = "") -> str:
    done = database.run(*command, env=apart(database.environment["DBT_TARGET_PATH"], prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def deliver(warehouse: Database, data: Path, entity: str, header: Iterable[str], rows: Iterable[Iterable]) -> None:
    """Load a file with these rows."""
    number = warehouse.query("select count(*) from raw._batches")[0][0]
    path = data / "incremental" / "market" / entity / f"file_{number}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([tuple(header), *rows])
    run(warehouse, "bin/ingest", "--data-dir", data)


def build(warehouse: Database) -> None:
    """Build the models of the feed, without tests."""
    run(warehouse, *DBT, "run", "--select", "group:market")


def price(asset_id: str, day: date, close: object, milliseconds: int = 0) -> tuple:
    """A row of coin_price_history, so long after a midnight."""
    moment = round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) + milliseconds
    return asset_id, datetime.fromtimestamp(moment // 1000, UTC).date(), close, 1, 1, moment


def closes_in_raw(warehouse: Database) -> dict[str, dict[date, Close]]:
    """The close of each day of each asset, from the raw rows, without any SQL of the models.

    That is the price at the midnight that ends the day, or else the last one from 22:00 on. Of several prices of one
    moment, the last delivered one counts. What is dated in the future doesn't.
    """
    columns = "asset_id, price_date, close_price_usd, source_ts_ms"
    raw = warehouse.query(f"select {columns} from raw.market__coin_price_history order by _row_id")
    points: dict[str, dict[int, Decimal]] = {}
    for asset_id, price_date, close, milliseconds in ([(value or "").strip() for value in row] for row in raw):
        try:
            day, price, moment = date.fromisoformat(price_date), Decimal(close), int(milliseconds)
        except (ValueError, ArithmeticError):
            continue
        is_sound = asset_id and price.is_finite() and 0 < price < 10**9 and day <= datetime.now(UTC).date()
        if is_sound and date(1970, 1, 1) + timedelta(milliseconds=moment) == day:
            points.setdefault(asset_id, {})[moment] = price
    return {asset_id: dict(closes_of(by_moment)) for asset_id, by_moment in points.items()}


def closes_of(prices: dict[int, Decimal]) -> Iterable[tuple[date, Close]]:
    """The closes of one asset, in order."""
    for begin in sorted({(moment - 1) // DAY * DAY for moment in prices}):
        day, end = date(1970, 1, 1) + timedelta(milliseconds=begin), begin + DAY
        late = [moment for moment in prices if begin + 22 * HOUR <= moment < end]
        if end in prices:
            yield day, Close(prices[end], day + ONE_DAY, True)
        elif late:
            yield day, Close(prices[max(late)], day, False)


def check_prices(warehouse: Database) -> None:
    """Computes every row of fct_asset_prices_daily again from the raw rows."""
    rows = warehouse.query(
        "select asset_id, close_of_date, price_date, is_midnight_close, close_price_usd, days_since_previous_close,"
        " change_since_previous_close_pct, daily_return_pct, sma_7d_close, volatility_30d_pct"
        " from marts.fct_asset_prices_daily"
    )
    actual = {(asset, day): values for asset, day, *values in rows}
    expected = {}
    for asset_id, by_day in closes_in_raw(warehouse).items():
        prices = {day: close.price for day, close in by_day.items()}
        previous = dict(zip(sorted(prices)[1:], sorted(prices), strict=False))
        returns = {day: 100 * (prices[day] / prices[day - ONE_DAY] - 1) for day in prices if day - ONE_DAY in prices}
        for day, close in by_day.items():
            week = [prices.get(day - number * ONE_DAY) for number in range(7)]
            month = [returns.get(day - number * ONE_DAY) for number in range(30)]
            volatility = None
            if None not in month:
                mean = sum(month) / 30
                volatility = (sum((change - mean) ** 2 for change in month) / 29).sqrt()
            expected[asset_id, day] = (
                close.price_date,
                close.is_midnight,
                close.price,
                (day - previous[day]).days if day in previous else None,
                100 * (close.price / prices[previous[day]] - 1) if day in previous else None,
                returns.get(day),
                sum(week) / 7 if None not in week else None,
                volatility,
            )
    assert actual.keys() == expected.keys()
    assert len(actual) > 850
    for key, values in expected.items():
        for value, other in zip(values, actual[key], strict=True):
            if isinstance(value, Decimal) and other is not None:
                assert abs(value - other) < Decimal("0.000002"), (key, value, other)
            else:
                assert value == other, (key, values, actual[key])


def check_full_refresh(warehouse: Database) -> None:
    """Builds everything once more from nothing, beside the first, and compares."""
    run(warehouse, *DBT, "build", *MODELS_ONLY, "--select", "group:market", "tag:ledger", prefix=FULL)
    assert differences(warehouse) == []


def test_prices_are_those_of_the_raw_rows_computed_by_hand(warehouse: Database) -> None:
    check_prices(warehouse)


def test_five_best_returns_of_the_last_30_days(warehouse: Database) -> None:
    closes = closes_in_raw(warehouse)
    last_day = max(day for by_day in closes.values() for day in by_day)
    returns = []
    for asset_id, by_day in closes.items():
        for before, day in pairwise(sorted(by_day)):
            if before == day - ONE_DAY and last_day - 30 * ONE_DAY < day:
                change = by_day[day].price / by_day[before].price - 1
                returns.append((round(100 * change, 4), asset_id, day))
    best = warehouse.query(
        "select round(daily_return_pct, 4), asset_id, close_of_date from marts.fct_asset_prices_daily"
        " where close_of_date > (select max(close_of_date) - 30 from marts.fct_asset_prices_daily)"
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
    ("asset_id", "price_date", "milliseconds", "changed_count"),
    [
        (CORRECTED, "2025-12-01", 0, 31),  # the day itself, and the 30 days whose volatility counts its return
        (CORRECTED, "2026-02-06", 0, 3),  # there are but two days after it
        (CORRECTED, "2025-11-10", 0, 31),  # a late day before the first: new, and 30 days gain a return before them
        (CORRECTED, "2026-02-07", 1, 0),  # a price within the day changes nothing
        (CORRECTED, "2026-02-07", 23 * HOUR, 0),  # nor does the last one, as there is a midnight
        (WITH_A_GAP, "2025-12-24", 0, 31),  # a gap that is filled late: new, and 30 days
    ],
)
def test_a_delivered_day_changes_just_the_rows_that_depend_on_it(
    warehouse: Database, tmp_path: Path, asset_id: str, price_date: str, milliseconds: int, changed_count: int
) -> None:
    before = Counter(warehouse.query(PRICES))
    row = price(asset_id, date.fromisoformat(price_date), 5000, milliseconds)
    deliver(warehouse, tmp_path, "coin_price_history", HISTORY, [row])
    build(warehouse)
    changed = Counter(warehouse.query(PRICES)) - before
    assert changed.total() == changed_count
    assert {row[0] for row in changed} <= {asset_id}
    check_prices(warehouse)


def closes_shown(warehouse: Database, asset_id: str) -> list[tuple]:
    return warehouse.query(
        "select price_date::text, close_of_date::text, trim_scale(close_price_usd)::text, is_midnight_close,"
        " days_since_previous_close, trim_scale(daily_return_pct)::text from marts.fct_asset_prices_daily"
        f" where asset_id = '{asset_id}' order by close_of_date"
    )


def test_days_without_midnight_take_their_last_price_and_say_so(warehouse: Database, tmp_path: Path) -> None:
    first = date(2026, 1, 5)
    days = [first + number * ONE_DAY for number in range(4)]
    # 722 hourly points, none of them at midnight: 30 days with a close, and a last day that isn't over.
    hourly = [price("sample-hourly", first, 100 + hour // 24, hour * HOUR + 12_345) for hour in range(722)]
    # One of the midnights comes late: it ends a day, and replaces the last price before it.
    late = [price("sample-late", day, 100 + number, 23 * HOUR) for number, day in enumerate(days)]
    # A price at 10:14 isn't a close, so January 6 has none, and the next return isn't a daily one.
    few = [price("sample-few", day, 100) for day in (days[0], days[3])]
    few += [price("sample-few", day, 150, 10 * HOUR + 840_000) for day in (days[1], days[2])]
    deliver(warehouse, tmp_path, "coin_price_history", HISTORY, hourly + late + few)
    build(warehouse)
    shown = closes_shown(warehouse, "sample-hourly")
    assert len(shown) == 30
    assert shown[0] == ("2026-01-05", "2026-01-05", "100", False, None, None)
    assert shown[1] == ("2026-01-06", "2026-01-06", "101", False, 1, "1")
    assert shown[-1][:3] == ("2026-02-03", "2026-02-03", "129")
    assert [row[1] for row in closes_shown(warehouse, "sample-late")] == [str(day) for day in days]
    assert closes_shown(warehouse, "sample-few") == [
        ("2026-01-05", "2026-01-04", "100", True, None, None),
        ("2026-01-08", "2026-01-07", "100", True, 3, None),
    ]
    assert warning(warehouse, "days_with_prices_have_a_close") == 1  # January 6 of the few
    check_prices(warehouse)
    deliver(warehouse, tmp_path, "coin_price_history", HISTORY, [price("sample-late", days[2], 202)])
    build(warehouse)
    assert closes_shown(warehouse, "sample-late") == [
        ("2026-01-05", "2026-01-05", "100", False, None, None),
        ("2026-01-07", "2026-01-06", "202", True, 1, "102"),
        ("2026-01-07", "2026-01-07", "102", False, 1, "-49.50495"),
        ("2026-01-08", "2026-01-08", "103", False, 1, "0.980392"),
    ]
    check_prices(warehouse)


def warning(warehouse: Database, test: str) -> int | None:
    """Runs a test; returns the number of rows of which it warns, or None if it passes."""
    out = run(warehouse, "bin/dbt", "test", "--select", test)
    found = [line for line in out.splitlines() if "WARN" in line and test in line]
    return int(found[0].split("WARN ")[1].split()[0]) if found else None


def test_prices_in_any_order_end_as_a_full_refresh(warehouse: Database, tmp_path: Path) -> None:
    """Assets with gaps, days without midnight and corrections, delivered in five batches and built after each."""
    dice = random.Random(13)
    batches: list[list[tuple]] = [[] for _ in range(5)]
    for number in range(60):
        is_odd = [dice.choice((0.03, 0.3)) for _ in range(3)]  # how often: a midnight is missing, late, corrected
        for day in (date(2025, 11, 1) + offset * ONE_DAY for offset in range(50)):
            moments = [0] * (dice.random() >= is_odd[0]) + [dice.choice((10, 22, 23)) * HOUR] * dice.randint(0, 1)
            for milliseconds in moments:
                asset_id = f"sample-any-{number}"
                batch = dice.randrange(5) if dice.random() < is_odd[1] else 0
                batches[batch].append(price(asset_id, day, dice.randint(90, 110), milliseconds))
                if dice.random() < is_odd[2]:
                    batches[dice.randrange(5)].append(price(asset_id, day, dice.randint(90, 110), milliseconds))
    for rows in batches:
        deliver(warehouse, tmp_path, "coin_price_history", HISTORY, rows)
        build(warehouse)
    check_prices(warehouse)
    count = "select count(*) from marts.fct_asset_prices_daily where asset_id like 'sample-any-%' and "
    for condition in ("not is_midnight_close", "days_since_previous_close > 1", "volatility_30d_pct > 0"):
        assert warehouse.query(count + condition)[0][0] > 30, condition


# -- Snapshots ---------------------------------------------------------------------------------------------------------


def snapshot(moment: str, ranks: Iterable[int], *request: object) -> list[tuple]:
    """Rows of coin_markets_snapshot, of assets with these ranks."""
    columns = {
        "current_price_usd": "1",
        "total_volume_usd": "1000",
        "pct_change_24h": "1",
        "symbol": "x",
    }
    rows = []
    for rank in ranks:
        values = columns | {
            "asset_id": f"sample-c{rank}",
            "name": f"C {rank}",
            "market_cap_usd": str(10**12 // rank),
            "market_cap_rank": str(rank),
        }
        rows.append((moment, *(values.get(column, "") for column in SNAPSHOT), *request))
    return rows


def market(warehouse: Database) -> tuple:
    """What the marts say of the market."""
    return (
        warehouse.query("select asset_count, requested_count, snapshot_at::text from marts.market_summary"),
        warehouse.query("select asset_id, market_dominance_pct from marts.asset_leaderboard order by leaderboard_rank"),
        warehouse.query("select market_segment, asset_count, snapshot_at::text from marts.market_segments order by 1"),
    )


WHOLE = ("ingested_at_ts", *SNAPSHOT, *REQUEST)


@pytest.fixture(scope="module")
def market_of_300(warehouse: Database, tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The sample, and after it a whole snapshot of 300 assets."""
    rows = snapshot("2026-02-09 06:00:00", range(1, 301), "top", 300, "true")
    deliver(warehouse, tmp_path_factory.mktemp("market"), "coin_markets_snapshot", WHOLE, rows)
    build(warehouse)
    return warehouse


def test_a_part_of_the_market_is_not_the_market(market_of_300: Database, tmp_path: Path) -> None:
    before = market(market_of_300)
    assert before[0] == [(300, 300, "2026-02-09 06:00:00")]
    assert before[1][0][0] == "sample-c1"
    assert before[2] == [
        ("large_cap", 10, "2026-02-09 06:00:00"),
        ("mid_cap", 40, "2026-02-09 06:00:00"),
        ("small_cap", 250, "2026-02-09 06:00:00"),
        ("unranked", 0, "2026-02-09 06:00:00"),
    ]
    parts: list[tuple[Iterable[int], tuple]] = [
        (range(251, 301), ("top", 300, "false")),  # page 1 of 2 failed
        (range(1, 251), ("top", 300, "false")),  # page 2 of 2 failed
        ([1], ("coins", 1, "true")),
        (range(1, 301), ("coins", 300, "true")),
        (range(1, 11), ("top", 10, "true")),  # far from the whole that was seen before
        ([1], ()),  # a file that doesn't say what was asked for
    ]
    for hour, (ranks, request) in enumerate(parts, start=7):
        header, rows = (
            WHOLE[: 1 + len(SNAPSHOT) + len(request)],
            snapshot(f"2026-02-09 {hour:02d}:00:00", ranks, *request),
        )
        deliver(market_of_300, tmp_path, "coin_markets_snapshot", header, rows)
    build(market_of_300)
    assert market(market_of_300) == before
    newest = "select newest_snapshot_at::text from marts.market_summary"
    assert market_of_300.query(newest) == [("2026-02-09 12:00:00",)]
    assert warning(market_of_300, "newest_snapshot_is_the_market") == 4  # all but those of given coins


def test_the_next_whole_snapshot_is_the_market(market_of_300: Database, tmp_path: Path) -> None:
    rows = snapshot("2026-02-10 06:00:00", range(1, 251), "top", 250, "true")
    deliver(market_of_300, tmp_path, "coin_markets_snapshot", WHOLE, rows)
    build(market_of_300)
    assert market(market_of_300)[0] == [(250, 250, "2026-02-10 06:00:00")]
    assert warning(market_of_300, "newest_snapshot_is_the_market") is None


# -- Dates that can't be -----------------------------------------------------------------------------------------------


def test_a_date_after_its_delivery_is_listed_and_used_nowhere(market_of_300: Database, tmp_path: Path) -> None:
    warehouse = market_of_300
    tables = ["fct_asset_prices_daily", "asset_leaderboard", "market_segments", "market_summary", "dim_asset_history"]
    before = [warehouse.query(f"select * from marts.{table} order by 1, 2") for table in tables]
    prices = [(CORRECTED, "5138-11-16", 1, 1, 1, 99_999_999_999_999)]
    deliver(warehouse, tmp_path, "coin_price_history", HISTORY, prices)
    deliver(warehouse, tmp_path, "coin_markets_snapshot", WHOLE, snapshot("5138-11-16", [1], "top", 300, "true"))
    build(warehouse)
    assert [warehouse.query(f"select * from marts.{table} order by 1, 2") for table in tables] == before
    run(warehouse, *DBT, "build", *NO_LIMITS, "--select", "group:market", "tag:ledger")
    assert warehouse.query(
        "select entity, column_name, left(kept_value, 10), line_number from marts.implausible_values"
        " where feed = 'market' order by 1"
    ) == [
        ("coin_markets_snapshot", "ingested_at_ts", "5138-11-16", 2),
        ("coin_price_history", "price_date", "5138-11-16", 2),
    ]
    check_full_refresh(warehouse)
