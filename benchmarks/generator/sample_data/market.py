"""The market feed: prices of assets, in the form of CoinGecko's API, for assets that do not exist.

No real coin has these ids, names or symbols, so extracted prices never mix with invented ones: each id begins with
`sample-`, names are grains with the endings of villages, and symbols are cut from both (`sample-barleywick` is
Barleywick, barwic). The assets of planted rows are called Chaff.

Each asset has a place, by its size. Most often it is also its rank, but neighbours change ranks from week to week. What
an asset is worth in each weekly snapshot follows from its rank; its prices of each day lead from snapshot to snapshot.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

from sample_data.chance import Dice, dice_for, pick
from sample_data.feed import Feed

# ----------------------------------------------------------------------------------------------------------------------
# What is written by hand
# ----------------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "coin_markets_snapshot": (
        "ingested_at_ts", "asset_id", "symbol", "name", "current_price_usd", "market_cap_usd", "market_cap_rank",
        "total_volume_usd", "high_24h_usd", "low_24h_usd", "pct_change_24h", "circulating_supply", "total_supply",
        "max_supply", "ath_usd", "ath_date", "atl_usd", "atl_date", "last_updated_ts",
    ),
    "coin_price_history": (
        "asset_id", "price_date", "close_price_usd", "market_cap_usd", "total_volume_usd", "source_ts_ms",
    ),
}  # fmt: skip

# Ninety days, and four extractions, on Sundays at 06:00: the same four weeks as in the tickets feed.
DAYS = [(datetime.date(2025, 11, 11) + datetime.timedelta(days=day)).isoformat() for day in range(90)]
BATCHES = {
    "initial": DAYS.index("2026-01-18"),
    "batch_001": DAYS.index("2026-01-25"),
    "batch_002": DAYS.index("2026-02-01"),
    "batch_003": DAYS.index("2026-02-08"),
}
OVERLAP = 3  # days before the last extraction that the next one brings again

FILES = (
    # entity, batch, extension, quirk
    ("coin_markets_snapshot", "initial", ".csv", ""),
    ("coin_price_history", "initial", ".csv", ""),
    ("coin_markets_snapshot", "batch_001", ".csv", "bom+crlf"),
    ("coin_price_history", "batch_001", ".csv", ""),
    ("coin_markets_snapshot", "batch_002", ".csv", "reordered"),
    ("coin_price_history", "batch_002", ".csv.gz", ""),
    ("coin_markets_snapshot", "batch_003", ".csv", ""),
    ("coin_price_history", "batch_003", ".jsonl", ""),
)
REORDERED_SNAPSHOT = ("asset_id", "name", "symbol", "market_cap_rank", *COLUMNS["coin_markets_snapshot"][4:6],
                      *COLUMNS["coin_markets_snapshot"][7:], "ingested_at_ts")  # fmt: skip

# The planted rows, as explained in feed.py: a row says how it differs from a plain one (see `planted_values`).
PLANTED = """
# Whitespace around values
coin_markets_snapshot initial   |asset_id= sample-chaff-01 |market_cap_usd= 500000\t|ath_date= 2025-03-01 |  spaces
coin_price_history    initial   |price_date= 2026-01-05 |close_price_usd=  0.51\t|  spaces and a tab

# Numbers: a sign, digits, decimals, an exponent
coin_markets_snapshot initial   |asset_id=sample-chaff-02|current_price_usd=1.2e-07|market_cap_usd=0.12|  an exponent
coin_markets_snapshot initial   |asset_id=sample-chaff-03|current_price_usd=5.1E-1|market_cap_usd=5.1E+05|  capitals
coin_markets_snapshot initial   |asset_id=sample-chaff-04|current_price_usd=0.0000123|market_cap_usd=+12.3|  a plus sign
coin_markets_snapshot initial   |asset_id=sample-chaff-05|pct_change_24h=-0|total_volume_usd=0|  nobody trades
coin_price_history    initial   |price_date=2026-01-06|close_price_usd=5e-1|  an exponent
coin_price_history    initial   |price_date=2026-01-07|close_price_usd=5.2E-01|  in capitals
coin_price_history    initial   |price_date=2026-01-08|close_price_usd=+0.53|  a plus sign

# Sentinels: N/A, NULL, None, null, - and empty are null
coin_markets_snapshot initial   |asset_id=sample-chaff-06|market_cap_usd=N/A|total_volume_usd=null|max_supply=-|  three
coin_markets_snapshot batch_001 |asset_id=sample-chaff-06|current_price_usd=None|ath_date=NULL|atl_date=null|  three
coin_price_history    initial   |price_date=2026-01-09|market_cap_usd=N/A|total_volume_usd=-|  two
coin_price_history    batch_001 |price_date=2026-01-19|market_cap_usd=|total_volume_usd=null|  two

# Duplicates within a batch and across batches
coin_markets_snapshot initial   |asset_id=sample-chaff-07|
coin_markets_snapshot initial   |asset_id=sample-chaff-07|  twice in the batch
coin_markets_snapshot batch_001 |asset_id=sample-chaff-07|ingested_at_ts=2026-01-18T06:00:00Z|  and again a batch later
coin_price_history    initial   |price_date=2026-01-10|
coin_price_history    initial   |price_date=2026-01-10|  twice in the batch
coin_price_history    batch_001 |price_date=2026-01-10|  and again a batch later

# Corrections: the latest batch wins
coin_markets_snapshot initial   |asset_id=sample-chaff-08|
coin_markets_snapshot batch_001 |asset_id=sample-chaff-08|current_price_usd=0.55|market_cap_usd=550000|  a batch later
coin_markets_snapshot initial   |asset_id=sample-chaff-09|total_supply=10000|
coin_markets_snapshot batch_002 |asset_id=sample-chaff-09|ingested_at_ts=2026-01-18T06:00:00Z|  of the first snapshot
coin_price_history    initial   |price_date=2026-01-11|
coin_price_history    batch_001 |price_date=2026-01-11|close_price_usd=0.54|market_cap_usd=540000|  a batch later
coin_price_history    initial   |price_date=2026-01-12|
coin_price_history    batch_002 |price_date=2026-01-12|close_price_usd=abc|  [row close_price_usd] so the 0.5 stays

# Numbers that don't parse: the row stays, without them
coin_markets_snapshot initial   |asset_id=sample-chaff-10|total_volume_usd=twelve|  [value total_volume_usd] a word
coin_markets_snapshot initial   |asset_id=sample-chaff-11|market_cap_usd=500,000|  [value market_cap_usd] a comma
coin_markets_snapshot initial   |asset_id=sample-chaff-12|high_24h_usd=1,2,3|  [value high_24h_usd] commas
coin_markets_snapshot initial   |asset_id=sample-chaff-13|pct_change_24h=NaN|  [value pct_change_24h] not a number
coin_markets_snapshot initial   |asset_id=sample-chaff-14|max_supply=1e999|  [value max_supply] too large for anything
coin_markets_snapshot initial   |asset_id=sample-chaff-15|total_supply=0x10|  [value total_supply] hexadecimal
coin_markets_snapshot batch_001 |asset_id=sample-chaff-16|ath_usd=$2.50|  [value ath_usd] a dollar sign
coin_markets_snapshot batch_001 |asset_id=sample-chaff-17|max_supply=1e21|  [value max_supply] over 20 digits
coin_markets_snapshot batch_003 |asset_id=sample-chaff-10|ath_usd=high|atl_usd=low|  [value ath_usd, atl_usd] two words
coin_price_history    initial   |price_date=2026-01-13|market_cap_usd=twelve|  [value market_cap_usd] a word
coin_price_history    batch_003 |price_date=2026-02-02|total_volume_usd=1,2,3|  [value total_volume_usd] commas

# Values that can't be true: the row stays, without them
coin_markets_snapshot initial   |asset_id=sample-chaff-18|current_price_usd=0|  [value current_price_usd] zero
coin_markets_snapshot initial   |asset_id=sample-chaff-19|current_price_usd=-0.5|  [value current_price_usd] negative
coin_markets_snapshot initial   |asset_id=sample-chaff-20|market_cap_usd=-1|  [value market_cap_usd] negative
coin_markets_snapshot initial   |asset_id=sample-chaff-21|total_volume_usd=-20000|  [value total_volume_usd] negative
coin_price_history    initial   |price_date=2026-01-14|market_cap_usd=-500000|  [value market_cap_usd] negative
coin_price_history    batch_003 |price_date=2026-02-03|total_volume_usd=-0.01|  [value total_volume_usd] negative

# Ranks that are none
coin_markets_snapshot initial   |asset_id=sample-chaff-22|market_cap_rank=0|  [value market_cap_rank] zero
coin_markets_snapshot initial   |asset_id=sample-chaff-23|market_cap_rank=12.5|  [value market_cap_rank] no whole number
coin_markets_snapshot batch_002 |asset_id=sample-chaff-22|market_cap_rank=top|  [value market_cap_rank] a word
coin_markets_snapshot batch_003 |asset_id=sample-chaff-22|market_cap_rank=1e1|  [value market_cap_rank] an exponent

# Times of an all-time high or low
coin_markets_snapshot initial   |asset_id=sample-chaff-24|ath_date=2025-11-31|  [value ath_date] no such day
coin_markets_snapshot initial   |asset_id=sample-chaff-25|atl_date=2024-12-31T22:30:00-05:00|  2025-01-01 in UTC
coin_markets_snapshot batch_001 |asset_id=sample-chaff-24|last_updated_ts=just now|  [value last_updated_ts] words

# A high below the price, and a low above it: nothing says that this is wrong
coin_markets_snapshot initial   |asset_id=sample-chaff-26|high_24h_usd=0.4|low_24h_usd=0.6|

# Required values that are missing, or don't parse
coin_markets_snapshot initial   |asset_id=|  [row asset_id] empty
coin_markets_snapshot initial   |asset_id=N/A|  [row asset_id] a sentinel
coin_markets_snapshot initial   |asset_id=sample-chaff-27|ingested_at_ts=2026-01-18T25:00:00Z|  [row ingested_at_ts]
coin_markets_snapshot batch_001 |asset_id=sample-chaff-27|ingested_at_ts=|  [row ingested_at_ts] empty
coin_markets_snapshot batch_002 |asset_id=|ingested_at_ts=yesterday|  [row ingested_at_ts, asset_id] two at once
coin_price_history    initial   |asset_id=|price_date=2026-01-05|  [row asset_id] empty
coin_price_history    initial   |price_date=|  [row price_date] empty
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=N/A|  [row close_price_usd] a sentinel
coin_price_history    initial   |price_date=2026-01-15|source_ts_ms=|  [row source_ts_ms] empty
coin_price_history    batch_003 |price_date=2026-02-04|close_price_usd=|  [row close_price_usd] a JSON null

# Closes that don't parse, or can't be true
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=0|  [row close_price_usd] zero
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=-0.5|  [row close_price_usd] negative
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=twelve|  [row close_price_usd] a word
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=1,2,3|  [row close_price_usd] commas
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=NaN|  [row close_price_usd] not a number
coin_price_history    initial   |price_date=2026-01-15|close_price_usd=1e999|  [row close_price_usd] too large
coin_price_history    batch_002 |price_date=2026-01-26|close_price_usd=0x10|  [row close_price_usd] hexadecimal

# Dates that don't parse
coin_price_history    initial   |price_date=2026-02-30|  [row price_date] no such day
coin_price_history    initial   |price_date=15/01/2026|  [row price_date] not YYYY-MM-DD
coin_price_history    batch_001 |price_date=2026-01-20T00:00:00Z|  [row price_date] a timestamp
coin_price_history    batch_003 |price_date=2026-02-30|close_price_usd=twelve|  [row price_date, close_price_usd] two

# Dates that are not the day of their timestamp
coin_price_history    initial   |price_date=2026-01-16|source_ts_ms=1768435200000|  [row price_date] it is 2026-01-15
coin_price_history    batch_001 |price_date=2026-01-21|source_ts_ms=1768953600|  [row price_date] seconds: it is 1970
coin_price_history    batch_002 |price_date=2026-01-27|source_ts_ms=1769558399999|  its last millisecond

# Timestamps that don't parse
coin_price_history    initial   |price_date=2026-01-15|source_ts_ms=soon|  [row source_ts_ms] a word
coin_price_history    initial   |price_date=2026-01-15|source_ts_ms=1.7684352e12|  [row source_ts_ms] an exponent
coin_price_history    batch_001 |price_date=2026-01-22|source_ts_ms=2026-01-22|  [row source_ts_ms] a date

# Rejected once, repaired later
coin_markets_snapshot initial   |asset_id=sample-chaff-28|ingested_at_ts=soon|  [row ingested_at_ts] a word
coin_markets_snapshot batch_001 |asset_id=sample-chaff-28|ingested_at_ts=2026-01-18T06:00:00Z|  repaired
coin_price_history    initial   |price_date=2026-01-17|close_price_usd=-|  [row close_price_usd] a sentinel
coin_price_history    batch_001 |price_date=2026-01-17|close_price_usd=0.52|  repaired

# Lines that can't be rows
coin_markets_snapshot batch_001 |2026-01-25T06:00:00Z,sample-chaff-29,chaff29|  [line] most values are missing
coin_price_history    batch_001 |sample-chaff-01,2026-01-23,0.5,500000,20000,1769126400000,$|  [line] one too many
coin_price_history    batch_003 |{"asset_id": "sample-chaff-01", "price_da|  [line] JSON cut off in the middle

# An asset without a rank, in each snapshot; and prices of an asset that no snapshot has
coin_markets_snapshot initial   |asset_id=sample-chaff-30|
coin_markets_snapshot batch_001 |asset_id=sample-chaff-30|market_cap_rank=null|
coin_markets_snapshot batch_002 |asset_id=sample-chaff-30|market_cap_rank=-|
coin_markets_snapshot batch_003 |asset_id=sample-chaff-30|market_cap_rank=N/A|
coin_price_history    initial   |asset_id=sample-chaff-31|price_date=2026-01-18|  in no snapshot
"""

# How regular rows are spoiled above scale 1: (column, what stands in it).
SPOILED = {
    "coin_markets_snapshot": (
        ("asset_id", ""), ("ingested_at_ts", "yesterday"), ("current_price_usd", "0"), ("market_cap_usd", "NaN"),
        ("total_volume_usd", "-"), ("market_cap_rank", "0"), ("ath_date", "2026-02-30"),
    ),
    "coin_price_history": (
        ("asset_id", "N/A"), ("price_date", "2026-02-30"), ("close_price_usd", "0"), ("close_price_usd", "twelve"),
        ("market_cap_usd", "-1"), ("source_ts_ms", ""),
    ),
}  # fmt: skip

# Stories of regular assets, each named by its number, which is its place in the list. Number 0 is the newcomer.
# It takes the place of 97, which leaves for one snapshot, then that of 98, which leaves for good.
NEWCOMER, NEWCOMER_RANK = 0, 97
NEWCOMER_PLACES = {("batch_001", 97): NEWCOMER, ("batch_002", 98): NEWCOMER, ("batch_003", 98): NEWCOMER}
RENAMED = (23, "batch_002", " Network")  # asset, first snapshot, what is added to its name
NEW_SYMBOL = (34, "batch_001", "x")  # asset, first snapshot, what is added to its symbol
CROSSINGS = {10: "batch_001", 50: "batch_002"}  # the first snapshot in which this place and the next change ranks
LATE_START = (80, "2026-01-05")  # asset, its first day: seven days come late, thirty even later
GAP = (34, "2025-12-24")  # asset, a day that is never delivered
LATE_DAYS = (  # asset, a day, and the batch that should have it; the next one does
    (11, "2026-01-24", "batch_001"),
    (2, "2026-02-01", "batch_002"),  # the day of the extraction: of this day, only a partial point comes at first
)
CORRECTED = (23, "2025-12-20", "batch_003")  # asset, a day whose close was a quarter too high, who corrects it

# ----------------------------------------------------------------------------------------------------------------------
# Regular rows, by rule
# ----------------------------------------------------------------------------------------------------------------------

# Only operations that IEEE 754 rounds in one way: + - * / and square roots. Powers and logarithms differ in the last
# digit from one platform to another, and so does sum() from one Python version to another.
A_PAGE = 100  # assets in a snapshot at scale 1, as on a page of the API
WITH_HISTORY = (1, 2, 3, 5, 10, 11, 23, 34, 50, 80)  # places on each page whose prices are extracted day by day
LARGEST_CAP = 6e11  # in USD
LEVELS = {"initial": 1, "batch_001": 1.04, "batch_002": 0.93, "batch_003": 0.97}  # of the market as a whole
PRICES = (140.0, 42000.0, 2600.0, 0.35, 0.0031, 22.0, 1.0, 950.0, 1.2e-07, 0.08, 3.8, 0.0000123)

GRAINS = ("Barley", "Oat", "Rye", "Millet", "Spelt", "Emmer", "Sorghum", "Teff", "Fonio", "Maize", "Einkorn")
ENDINGS = ("wick", "holm", "mere", "gate", "bury", "stead", "croft", "dale", "march", "well", "brook", "thorpe")


class Asset(NamedTuple):
    """What stays the same about an asset; its supply and turnover as numbers, all else as it is written."""

    asset_id: str
    symbol: str
    name: str
    supply: float
    turnover: float  # volume of a day, as a part of the market cap
    total_supply: str
    max_supply: str
    ath: str
    ath_date: str
    atl: str
    atl_date: str


class Quote(NamedTuple):
    """What an asset is worth in a snapshot."""

    cap: float
    price: float
    change: float  # of the price in 24 hours, as a part of the price before


def snapshot_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """The assets of one snapshot, by rank."""
    day = DAYS[BATCHES[batch]]
    for rank in range(1, A_PAGE * scale + 1):
        place = neighbour(rank, batch, seed)
        number = NEWCOMER_PLACES.get((batch, place), place)
        asset = asset_at(number, seed)
        quote, dice = quote_at(asset, rank, batch, seed), dice_for("market", seed, "snapshot", batch, number)
        before = quote.price / (1 + quote.change)
        yield (
            f"{day}T06:00:00Z",
            asset.asset_id,
            asset.symbol + addition(NEW_SYMBOL, number, batch),
            asset.name + addition(RENAMED, number, batch),
            spelled_number(quote.price),
            spelled_number(quote.cap),
            str(rank),
            spelled_number(quote.cap * asset.turnover * (0.8 + 0.4 * dice())),
            spelled_number(max(quote.price, before) * (1 + 0.01 * dice())),
            spelled_number(min(quote.price, before) * (1 - 0.01 * dice())),
            f"{100 * quote.change:.5f}",
            spelled_number(asset.supply),
            *asset[-6:],  # from total_supply on
            f"{day}T05:{50 + int(10 * dice())}:{int(60 * dice()):02d}.{int(1000 * dice()):03d}Z",
        )


def history_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """Asset by asset: the days since the last extraction, a few days before it again, and a point of the moment."""
    last = BATCHES[batch]
    first = max((day - OVERLAP for day in BATCHES.values() if day < last), default=0)
    for number in (A_PAGE * page + place for page in range(scale) for place in WITH_HISTORY):
        asset = asset_at(number, seed)
        dice = dice_for("market", seed, "volumes", number)
        for day, close in enumerate(daily_closes(asset, number, seed)):
            date, turnover = DAYS[day], asset.turnover * (0.8 + 0.4 * dice())
            is_too_early = number == LATE_START[0] and date < LATE_START[1]
            if is_too_early or (number, date) == GAP or (number, date, batch) in LATE_DAYS:
                continue
            if first <= day <= last or (number, date, batch) == CORRECTED:
                is_wrong = (number, date) == CORRECTED[:2] and batch != CORRECTED[2]
                yield history_row(asset, date, close * (1.25 if is_wrong else 1), turnover)
        now = quote_at(asset, neighbour(number, batch, seed), batch, seed)
        yield history_row(asset, DAYS[last], now.price, asset.turnover, milliseconds=6 * 3600 * 1000 + 3512)


def history_row(asset: Asset, date: str, close: float, turnover: float, milliseconds: int = 0) -> tuple:
    """A point of a day: its midnight, or so many milliseconds later."""
    cap = close * asset.supply
    numbers = spelled_number(close), spelled_number(cap), spelled_number(cap * turnover)
    return asset.asset_id, date, *numbers, str(midnight(date) + milliseconds)


def asset_at(number: int, seed: int) -> Asset:
    """The asset with this number, which says what it is called and where it stands, about."""
    dice = dice_for("market", seed, "asset", number)
    price = PRICES[number % len(PRICES)] * (0.5 + dice())
    supply = cap_of(number or NEWCOMER_RANK) / price
    total_supply, kind = supply * pick((1, 1, 1.1, 1.6), dice), dice()
    return Asset(
        *names_of(number),
        supply,
        0.55 + dice() if kind < 0.06 else 0.1 + 0.4 * dice() if kind < 0.3 else 0.004 + 0.08 * dice(),
        spelled_number(total_supply),
        pick(("", "", spelled_number(total_supply), spelled_number(1.25 * total_supply)), dice),
        spelled_number(price * (3 + 12 * dice())),
        some_moment(2017, dice),
        spelled_number(price * (0.001 + 0.2 * dice())),
        some_moment(2014, dice),
    )


def names_of(number: int) -> tuple[str, str, str]:
    """(asset_id, symbol, name)"""
    grain, ending, series = GRAINS[number % 11], ENDINGS[number // 11 % 12], number // 132
    name, symbol = f"{grain}{ending}", f"{grain[:3]}{ending[:3]}".lower()
    if series:  # all pairs of words are used
        name, symbol = f"{name} {series + 1}", f"{symbol}{series + 1}"
    return f"sample-{name.lower().replace(' ', '-')}", symbol, name


def quote_at(asset: Asset, rank: int, batch: str, seed: int) -> Quote:
    dice = dice_for("market", seed, "quote", batch, rank)
    # Less than a whole rank is added, so that caps are in the order of ranks; and little where ranks are far apart.
    cap = LEVELS[batch] * cap_of(rank + 0.9 * dice() * min(1, rank / 20))
    kind = dice() if rank > 3 else 1  # the largest are calm
    change = 0.1 + 0.3 * dice() if kind < 0.06 else -0.1 - 0.2 * dice() if kind < 0.12 else 0.1 * dice() - 0.05
    return Quote(cap, cap / asset.supply, change)


def cap_of(rank: float) -> float:
    """The market cap that goes with a rank: the first few have most of it."""
    return LARGEST_CAP / (rank * math.sqrt(rank))


def neighbour(rank: int, batch: str, seed: int) -> int:
    """The place of the asset that has this rank in a snapshot, and just as well the rank of the asset at this place.

    It is the same number, or where neighbours have changed ranks, the neighbour's. Neighbours are 4 and 5, 6 and 7, and
    so on; the first three don't change, nor do the last of a page and the first of the next.
    """
    first = rank - rank % 2
    if rank <= 3 or first % A_PAGE == 0:
        return rank
    if first in CROSSINGS:
        is_changed = BATCHES[batch] >= BATCHES[CROSSINGS[first]]
    else:
        is_changed = dice_for("market", seed, "ranks", batch, first)() < 0.3
    return 2 * first + 1 - rank if is_changed else rank


def daily_closes(asset: Asset, number: int, seed: int) -> list[float]:
    """The price at each midnight: a random walk that leads to the snapshots, and from one to the next."""
    dice = dice_for("market", seed, "walk", number)
    volatility = 0.015 + 0.04 * dice()

    def step() -> float:
        return 1 + volatility * (dice() + dice() + dice() + dice() - 2)

    closes, known = [0.0] * len(DAYS), []
    for batch, day in BATCHES.items():
        quote = quote_at(asset, neighbour(number, batch, seed), batch, seed)
        closes[day] = quote.price * (0.998 + 0.004 * dice())  # six hours before the snapshot
        closes[day - 1] = quote.price / (1 + quote.change)
        known.append(day)
    for day in range(known[0] - 1, 0, -1):
        closes[day - 1] = closes[day] / step()
    for start, end in itertools.pairwise(known):
        between = range(start + 1, end - 1)
        for day in between:
            closes[day] = closes[day - 1] * step()
        miss = closes[end - 1] / (closes[end - 2] * step()) - 1  # by how much the walk misses the day it leads to
        for day in between:
            closes[day] *= 1 + miss * (day - start) / (end - 1 - start)
    return closes


def addition(story: tuple[int, str, str], number: int, batch: str) -> str:
    """What a story adds to the name or symbol of its asset, from its batch on."""
    asset, first_batch, added = story
    return added if number == asset and BATCHES[batch] >= BATCHES[first_batch] else ""


def spelled_number(value: float) -> str:
    """As the API writes numbers: whole from a million on, an exponent below a millionth, else with ten digits."""
    if value >= 1e6:
        return f"{value:.0f}"
    if value < 1e-6:
        return f"{value:.6g}"
    return format(Decimal(f"{value:.9e}").normalize(), "f")


def some_moment(first_year: int, dice: Dice) -> str:
    """A timestamp of that year or the next few."""
    day = datetime.date(first_year, 1, 1) + datetime.timedelta(days=int(2800 * dice()))
    return f"{day}T{int(24 * dice()):02d}:{int(60 * dice()):02d}:{int(60 * dice()):02d}.{int(1000 * dice()):03d}Z"


def midnight(date: str) -> int:
    """Milliseconds from 1970 to the midnight with which a day begins, in UTC."""
    return (datetime.date.fromisoformat(date) - datetime.date(1970, 1, 1)).days * 86_400_000


def with_another_price(row: tuple, columns: tuple, dice: Dice) -> tuple:
    """A correction of a row: the same with another price."""
    place = next(place for place, column in enumerate(columns) if column.endswith("_price_usd"))
    return *row[:place], spelled_number(float(row[place]) * (0.95 + 0.1 * dice())), *row[place + 1 :]


def planted_values(entity: str, batch: str, text: str) -> tuple:
    """The values of a planted row, whose text |column=value|column=value| says how it differs from a plain one."""
    given = dict(part.split("=", 1) for part in text.split("|"))
    if unknown := given.keys() - set(COLUMNS[entity]):
        raise ValueError(f"{entity} has no column {', '.join(sorted(unknown))}: {text}")
    plain = PLAIN[entity](batch, given)
    return tuple(given.get(column, value) for column, value in zip(COLUMNS[entity], plain, strict=True))


def plain_snapshot(batch: str, given: dict[str, str]) -> tuple:
    """Too small to matter, and without a rank."""
    asset_id = given["asset_id"].strip()
    name = asset_id.removeprefix("sample-").replace("-", " ")
    return (
        f"{DAYS[BATCHES[batch]]}T06:00:00Z", asset_id, name.replace(" ", ""), name.title(), "0.5", "500000", "",
        "20000", "0.51", "0.49", "1.5", "1000000", "1000000", "", "2.5", "2025-03-01T12:00:00.000Z", "0.01",
        "2024-05-01T12:00:00.000Z", "2026-01-18T05:59:00.000Z",
    )  # fmt: skip


def plain_price(batch: str, given: dict[str, str]) -> tuple:
    """Of the first Chaff, at midnight."""
    try:
        at = midnight(given["price_date"].strip())
    except ValueError:
        at = midnight("2026-01-15")
    return "sample-chaff-01", given["price_date"], "0.5", "500000", "20000", str(at)


PLAIN = {"coin_markets_snapshot": plain_snapshot, "coin_price_history": plain_price}

# The stories that regular rows tell at every scale; {n} is the asset whose names are names_of(n).
#
# {0} comes new in batch_001.
# {97} is not in batch_001, and is back in batch_002. {98} is gone from batch_002 on.
# {10} and {11} change ranks 10 and 11 in batch_001; {50} and {51} change ranks 50 and 51 in batch_002.
# {34} has another symbol from batch_001 on, {23} another name from batch_002 on.
# {80} has prices from 2026-01-05 on only.
# {34} has no price of 2025-12-24: that day is never delivered.
# {11} has its price of 2026-01-24 late: in batch_002, not in batch_001.
# {2} has its price of 2026-02-01 late: in batch_003. In batch_002, that day has a partial point only.
# {23} has its price of 2025-12-20 corrected in batch_003: it was a quarter too high.
# Each batch ends each asset's prices with a partial point of its last day: 06:00:03.512.
# Each batch brings again the three days before the extraction before it, and that day.

FEED = Feed(
    name="market",
    grows="assets in each snapshot (a hundred at scale 1), and with prices of each day (ten at scale 1)",
    columns=COLUMNS,
    files=FILES,
    reordered={"coin_markets_snapshot": REORDERED_SNAPSHOT},
    numbers=("close_price_usd", "market_cap_usd", "total_volume_usd", "source_ts_ms"),
    planted=PLANTED,
    planted_values=planted_values,
    rows={"coin_markets_snapshot": snapshot_rows, "coin_price_history": history_rows},
    spoiled=SPOILED,
    corrected=with_another_price,
)
