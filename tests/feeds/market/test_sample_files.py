"""The sample data of market: it has every mess that it claims to have, and its stories end as told."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from generate_data import FEEDS, planted_rows
from sample_data import market
from sample_files import (
    DATA,
    NUMBER,
    SENTINELS,
    Deliveries,
    Rules,
    check_files,
    column,
    contents,
    generate,
    is_date,
    is_time,
    read_feed,
    repeated_rows,
)

pytestmark = pytest.mark.fast


def is_sound(name: str, values: dict[str, str]) -> bool:
    text = values[name]
    if name == "source_ts_ms":
        return is_milliseconds(text)
    if name == "price_date":
        moment = values["source_ts_ms"]
        return is_date(text) and (not is_milliseconds(moment) or text == f"{at(moment):%Y-%m-%d}")
    if name.endswith(("_ts", "_date")):
        return is_time(text)
    if name == "market_cap_rank":
        return text.isdecimal() and int(text) >= 1
    if name.endswith(("_usd", "_supply", "_24h")):
        return bool(NUMBER.fullmatch(text)) and abs(Decimal(text)) < 10**20 and is_possible(name, Decimal(text))
    return True


def is_milliseconds(text: str) -> bool:
    return text.isdecimal() and 12 <= len(text) <= 14


def at(moment: str) -> datetime:
    return datetime.fromtimestamp(int(moment) // 1000, timezone.utc)


def is_possible(name: str, value: Decimal) -> bool:
    return (
        value > 0 if name.endswith("_price_usd") else value >= 0 or name not in ("market_cap_usd", "total_volume_usd")
    )


RULES = Rules(
    "market",
    {
        "coin_markets_snapshot": {"ingested_at_ts", "asset_id"},
        "coin_price_history": {"asset_id", "price_date", "close_price_usd", "source_ts_ms"},
    },
    is_sound,
    defaults={},
)


@pytest.fixture(scope="module")
def committed() -> Deliveries:
    """The committed data of the feed."""
    return read_feed(DATA, "market")


def test_every_kind_of_rejection_is_planted_and_nothing_else_is_rejected(committed):
    kinds = {
        "value current_price_usd", "value market_cap_usd", "value total_volume_usd", "value market_cap_rank",
        "value high_24h_usd", "value max_supply", "value ath_date", "value last_updated_ts",
        "value ath_usd, atl_usd", "row ingested_at_ts, asset_id", "row price_date, close_price_usd",
    }  # fmt: skip
    RULES.check_planted(committed, lines=3, kinds=kinds | RULES.required_kinds())


@pytest.mark.parametrize(
    ("entity", "fates"),
    [
        ("coin_markets_snapshot", ["row asset_id", "value ath_date", "value market_cap_rank"]),
        ("coin_price_history", ["row close_price_usd", "row price_date", "value market_cap_usd"]),
    ],
)
def test_rows_are_spoiled_above_scale_1(entity, fates, tmp_path):
    RULES.check_spoiled(tmp_path, entity, fates)


def test_every_spelling_is_planted():
    values = {value for row in planted_rows("market") for value in row.values}
    assert {"1.2e-07", "5.1E-1", "0.0000123", "+0.53", " 2025-03-01 "} <= values
    assert {"twelve", "1,2,3", "NaN", "1e999", "0x10", "0", "-0.5", "2026-02-30"} <= values


def test_files_come_in_every_format_and_with_every_quirk():
    check_files(
        "market",
        {".csv", ".jsonl", ".csv.gz"},
        ("coin_markets_snapshot/batch_001.csv", b"ingested_at_ts,"),
        ("coin_markets_snapshot/batch_002.csv", b"asset_id,name,symbol,market_cap_rank,"),
    )


def test_there_are_duplicates_within_a_batch_and_across_batches(committed):
    thrice = ["initial", "initial", "batch_001"]
    assert repeated_rows(committed, "coin_markets_snapshot") == [thrice]
    assert thrice in repeated_rows(committed, "coin_price_history")  # each extraction brings some days again


def test_the_committed_data_is_small():
    assert sum(map(len, contents(DATA, "market").values())) < 250_000


def test_a_planted_row_with_an_unknown_column_is_refused(monkeypatch):
    monkeypatch.setitem(FEEDS, "market", FEEDS["market"]._replace(planted="coin_price_history initial |price=1|"))
    with pytest.raises(ValueError, match="coin_price_history has no column price: price=1"):
        planted_rows("market")


def test_assets_grow_with_the_scale_and_stay_in_order(tmp_path):
    deliveries = read_feed(generate(tmp_path, "market", "--scale", "5"), "market")
    assert 10 * 5 <= len(set(column(deliveries, "coin_price_history", "asset_id")) - {"", "N/A"}) <= 10 * 5 + 2
    for snapshot in ranked(deliveries).values():
        caps = [float(row["market_cap_usd"]) for row in snapshot.values() if NUMBER.fullmatch(row["market_cap_usd"])]
        assert 500 * 0.99 < len(caps) <= 500
        assert caps == sorted(caps, reverse=True)


def is_regular(row: dict[str, str] | None) -> bool:
    return bool(row and re.match(r"sample-(?!chaff)", row["asset_id"]))


def ranked(deliveries: Deliveries) -> dict[str, dict[str, dict]]:
    """The regular rows of each snapshot, by batch and asset, in the order of delivery."""
    return {
        batch: {row["asset_id"]: row for _, row in rows if is_regular(row)}
        for (entity, batch), rows in deliveries.items()
        if entity == "coin_markets_snapshot"
    }


@pytest.fixture
def snapshots(committed) -> list[dict[str, dict]]:
    """The regular rows of the four snapshots, by asset."""
    return [
        {key: row for key, row in snapshot.items() if row["market_cap_rank"].isdecimal()}
        for snapshot in ranked(committed).values()
    ]


@pytest.fixture
def points(committed) -> dict[tuple[str, str], dict[str, list[dict]]]:
    """The regular points of prices, by asset and date, then by batch."""
    found = {}
    for (entity, batch), rows in committed.items():
        for _, row in rows:
            if entity == "coin_price_history" and is_regular(row):
                by_batch = found.setdefault((row["asset_id"], row["price_date"]), {})
                by_batch.setdefault(batch, []).append(row)
    return found


def named(number: int) -> str:
    return market.names_of(number)[0]


def test_a_snapshot_has_a_hundred_assets_in_the_order_of_their_caps(snapshots):
    for date, snapshot in zip(("2026-01-18", "2026-01-25", "2026-02-01", "2026-02-08"), snapshots, strict=True):
        rows = sorted(snapshot.values(), key=lambda row: int(row["market_cap_rank"]))
        assert [int(row["market_cap_rank"]) for row in rows] == list(range(1, 101))
        caps = [float(row["market_cap_usd"]) for row in rows]
        assert caps == sorted(caps, reverse=True)
        assert caps[0] > sum(caps) / 4
        assert {row["ingested_at_ts"] for row in rows} == {f"{date}T06:00:00Z"}


def test_values_of_a_snapshot_fit_each_other_and_fall_into_every_band(snapshots):
    for snapshot in snapshots:
        changes, volumes = Counter(), Counter()
        for row in snapshot.values():
            value = {name: float(text) for name, text in row.items() if NUMBER.fullmatch(text)}
            assert value["current_price_usd"] * value["circulating_supply"] == pytest.approx(
                value["market_cap_usd"], 1e-4
            )
            assert value["atl_usd"] <= value["low_24h_usd"] <= value["current_price_usd"] <= value["high_24h_usd"]
            assert value["high_24h_usd"] <= value["ath_usd"]
            assert row["ath_date"] < row["ingested_at_ts"]
            changes[sum(value["pct_change_24h"] > limit for limit in (-10, 0, 10))] += 1
            ratio = value["total_volume_usd"] / value["market_cap_usd"]
            volumes[sum(ratio > limit for limit in (0.1, 0.5))] += 1
        assert set(changes) == {0, 1, 2, 3}
        assert set(volumes) == {0, 1, 2}
    rows = [row for snapshot in snapshots for row in snapshot.values()]
    assert 100 < sum(row["max_supply"] == "" for row in rows) < 300
    prices = {row["current_price_usd"] for row in rows}
    assert any("e-" in price for price in prices)
    assert any(price.startswith("0.0000") for price in prices)


def test_assets_change_between_snapshots_as_told(snapshots):
    def values_of(number: int, name: str) -> list[str]:
        return [snapshot[named(number)][name] for snapshot in snapshots]

    assert values_of(10, "market_cap_rank") == ["10", "11", "11", "11"]
    assert values_of(11, "market_cap_rank") == ["11", "10", "10", "10"]
    assert values_of(50, "market_cap_rank") == ["50", "50", "51", "51"]
    assert values_of(51, "market_cap_rank") == ["51", "51", "50", "50"]
    assert values_of(23, "name") == ["Oatmere", "Oatmere", "Oatmere Network", "Oatmere Network"]
    assert values_of(34, "symbol") == ["oatgat", "oatgatx", "oatgatx", "oatgatx"]
    present = {number: [named(number) in snapshot for snapshot in snapshots] for number in (0, 97, 98)}
    assert present == {0: [False, True, True, True], 97: [True, False, True, True], 98: [True, True, False, False]}
    for name in ("symbol", "name", "ath_usd", "circulating_supply"):
        versions = {(key, row[name]) for snapshot in snapshots for key, row in snapshot.items()}
        assert len(versions) - 101 == (name in ("symbol", "name"))
    ranks = Counter(key for key, _ in {(k, row["market_cap_rank"]) for s in snapshots for k, row in s.items()})
    assert sum(count > 1 for count in ranks.values()) > 20


def test_one_asset_has_no_rank_in_any_snapshot(committed):
    rows = [
        row
        for (entity, _), rows in committed.items()
        for _, row in rows
        if entity == "coin_markets_snapshot" and row and row["asset_id"] == "sample-chaff-30"
    ]
    assert len(rows) == 4
    assert {row["market_cap_rank"] for row in rows} <= SENTINELS


def test_prices_come_for_ninety_days_but_for_the_days_that_are_told(points, snapshots):
    days = {}
    for asset, date in points:
        days.setdefault(asset, set()).add(date)
    assert len(days) == 10
    assert set(days) <= set(snapshots[0])
    ninety = {f"{datetime(2025, 11, 11, tzinfo=timezone.utc) + timedelta(days=day):%Y-%m-%d}" for day in range(90)}
    assert {asset: min(ninety - those) for asset, those in days.items() if ninety - those} == {
        named(34): "2025-12-24",  # a gap
        named(80): "2025-11-11",  # starts late
    }
    assert len(days[named(34)]) == 89
    assert min(days[named(80)]) == "2026-01-05"
    assert len(days[named(80)]) == 35


def test_each_extraction_brings_some_days_again_and_a_partial_point_last(points):
    partial = {"initial": "2026-01-18", "batch_001": "2026-01-25", "batch_002": "2026-02-01", "batch_003": "2026-02-08"}
    first = {"initial": "2025-11-11", "batch_001": "2026-01-15", "batch_002": "2026-01-22", "batch_003": "2026-01-29"}
    seen = Counter()
    for (asset, date), by_batch in points.items():
        for batch, rows in by_batch.items():
            assert first[batch] <= date <= partial[batch] or (asset, date, batch) == market_correction()
            of_day = [int(row["source_ts_ms"]) % 86_400_000 for row in rows]
            seen[(batch, *of_day)] += 1
            assert of_day in ([0], [0, 21_603_512], [21_603_512])
            assert 21_603_512 not in of_day or date == partial[batch]
    assert {key[0]: count for key, count in seen.items() if key[1:] == (0, 21_603_512)} == {
        "initial": 10, "batch_001": 10, "batch_002": 9, "batch_003": 10,
    }  # fmt: skip
    closes = {}
    for key, by_batch in points.items():
        for rows in by_batch.values():
            closes.setdefault(key, set()).update(
                Decimal(row["close_price_usd"]) for row in rows if row["source_ts_ms"].endswith("00000")
            )
    assert [key for key, values in closes.items() if len(values) != 1] == [market_correction()[:2]]


def market_correction() -> tuple[str, str, str]:
    return named(23), "2025-12-20", "batch_003"


def test_late_days_come_a_batch_later(points):
    assert list(points[named(11), "2026-01-24"]) == ["batch_002"]
    assert list(points[named(10), "2026-01-24"]) == ["batch_001", "batch_002"]
    on_time = {
        batch: [int(row["source_ts_ms"]) % 86_400_000 for row in rows]
        for batch, rows in points[named(2), "2026-02-01"].items()
    }
    assert on_time == {"batch_002": [21_603_512], "batch_003": [0]}


def test_a_correction_brings_an_old_close_back_to_its_neighbours(points):
    asset, date, batch = market_correction()
    ((wrong,), (right,)) = points[asset, date].values()
    assert list(points[asset, date]) == ["initial", batch]
    assert float(wrong["close_price_usd"]) == pytest.approx(1.25 * float(right["close_price_usd"]))
    ((before,),) = points[asset, "2025-12-19"].values()
    assert float(right["close_price_usd"]) == pytest.approx(float(before["close_price_usd"]), 0.12)


def test_no_planted_row_gives_chaff_a_rank_or_a_cap_that_matters():
    for row in planted_rows("market"):
        values = dict(zip(FEEDS["market"].columns[row.entity], row.values, strict=False))
        assert "chaff" in values.get("asset_id", "chaff") or values["asset_id"] in SENTINELS
        assert row.fate != "kept" or values.get("market_cap_rank", "") in SENTINELS
        cap = values.get("market_cap_usd", "").strip()
        assert not NUMBER.fullmatch(cap) or float(cap) < 1e6
