"""The sample data: the same everywhere, small enough to commit, and with every mess it claims to have."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import json
import os
import re
import subprocess
import sys
import tracemalloc
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pytest

from generate_data import FEEDS, landing_path, main, planted_rows
from sample_data.files import StoredGzip

pytestmark = pytest.mark.feeds("courses", "market", "shop", "tickets")
courses, market, shop = (pytest.importorskip(f"sample_data.{feed}") for feed in ("courses", "market", "shop"))

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
PLANTED = {feed: planted_rows(feed) for feed in FEEDS}
Deliveries = dict[
    tuple[str, str], list
]  # (line number, row) of each line, by entity and batch, in the order of loading
each_feed = pytest.mark.parametrize("feed", FEEDS)

# What staging promises to take, restated here on purpose: a planted row is only explained if this agrees with its fate.
SENTINELS = {"", "N/A", "NULL", "None", "null", "-"}
AMOUNT = re.compile(r"[+-]?\$?[+-]?(\d+|\d{1,3}(,\d{3})+)(\.\d{1,2})?|\$?\(\$?(\d+|\d{1,3}(,\d{3})+)(\.\d{1,2})?\)")
WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\d)([T ]([01]\d|2[0-3]):\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:\d\d)?)?")
REQUIRED = {
    "tickets": {
        "accounts": {"account_id", "created_at"},
        "events": {"event_id"},
        "showtimes": {"showtime_id", "event_id", "start_at"},
        "orders": {"order_id", "account_id", "created_at", "total_amount"},
        "transactions": {"transaction_id", "order_id", "amount", "occurred_at"},
        "pages": {"page_id", "occurred_at"},
        "identity_merges": {"from_customer_id", "to_customer_id", "merged_at"},
    },
    "market": {
        "coin_markets_snapshot": {"ingested_at_ts", "asset_id"},
        "coin_price_history": {"asset_id", "price_date", "close_price_usd", "source_ts_ms"},
    },
    "shop": {
        "customers": {"customer_id"},
        "products": {"product_id"},
        "orders": {
            "order_id", "customer_id", "product_id", "quantity", "unit_price", "discount", "order_date", "status",
        },
    },
    "courses": {
        "users": {"id", "deleted"},
        "courses": {"course_id"},
        "enrolments": {"enrolment_id", "user_id", "course_id", "enrolled_at"},
        "events": {"id", "user_id", "course_id", "event_type", "event_timestamp"},
    },
}  # fmt: skip
DEFAULTS = {"courses": {"isGovEmployee": "false", "deleted": "false"}, "shop": {"discount": "0"}}
BOOLEANS = {"true", "t", "yes", "y", "1", "false", "f", "no", "n", "0"}
LABELS = {"level": {"beginner", "intermediate", "advanced"}, "status": {"active", "completed", "cancelled"}}


def generate(out: Path, feed: str, *arguments: str) -> Path:
    assert main(["--feed", feed, "--out", str(out), *arguments]) == 0
    return out


def contents(root: Path, feed: str) -> dict[str, bytes]:
    """Every file of a feed below a data root, by its path there."""
    paths = [path for part in ("initial", "incremental") for path in (root / part / feed).rglob("*")]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths if path.is_file()}


def read_lines(root: Path, path: str) -> list[tuple[int, dict | None]]:
    """(line number, row) of each line below a header; None for a line that can't be a row."""
    data = (root / path).read_bytes()
    if path.endswith(".gz"):
        data = gzip.decompress(data)
    lines = data.decode("utf-8-sig").splitlines()
    if ".json" in path:
        return [(number, json_row(line)) for number, line in enumerate(lines, 1) if line not in "[]"]
    header = next(csv.reader(lines[:1]))
    return [(number, csv_row(header, line)) for number, line in enumerate(lines[1:], 2)]


def json_row(line: str) -> dict | None:
    with contextlib.suppress(json.JSONDecodeError):
        return {name: "" if value is None else str(value) for name, value in json.loads(line.rstrip(",")).items()}
    return None


def csv_row(header: list[str], line: str) -> dict | None:
    with contextlib.suppress(csv.Error):
        values = next(csv.reader([line], strict=True))
        return dict(zip(header, values, strict=True)) if len(values) == len(header) else None
    return None


def read_feed(root: Path, feed: str) -> Deliveries:
    return {
        (entity, batch): read_lines(root, landing_path(feed, entity, batch, extension))
        for entity, batch, extension, _ in FEEDS[feed].files
    }


@pytest.fixture(scope="module")
def committed() -> dict[str, Deliveries]:
    """The committed data of each feed."""
    return {feed: read_feed(DATA, feed) for feed in FEEDS}


@pytest.fixture
def tickets(committed) -> Deliveries:
    return committed["tickets"]


def column(deliveries: Deliveries, entity: str, name: str) -> list[str]:
    """One column of an entity over all batches, trimmed."""
    return [row[name].strip() for key, rows in deliveries.items() if key[0] == entity for _, row in rows if row]


def judge(feed: str, entity: str, row: dict[str, str] | None) -> str:
    """What the warehouse must make of a row, by the rules above, in the words of the planted table."""
    if row is None:
        return "line"
    values = {name: "" if text.strip() in SENTINELS else text.strip() for name, text in row.items()}
    values |= {name: text for name, text in DEFAULTS.get(feed, {}).items() if values.get(name) == ""}
    given = [name for name in FEEDS[feed].columns[entity] if values[name]]
    if feed == "shop":
        unsound = [name for name in given if not is_sound_in_shop(name, values)]
    else:
        unsound = [name for name in given if not is_sound(name, values[name])]
    if {"price_date", "source_ts_ms"} <= {name for name in values if values[name] and name not in unsound}:
        moment = datetime.fromtimestamp(int(values["source_ts_ms"]) // 1000, timezone.utc)
        unsound += ["price_date"] * (f"{moment:%Y-%m-%d}" != values["price_date"])
    required = REQUIRED[feed][entity]
    rejected = [name for name in FEEDS[feed].columns[entity] if name in required and name in (*unsound, *empty(values))]
    if rejected:
        return f"row {', '.join(rejected)}"
    return f"value {', '.join(unsound)}" if unsound else "kept"


def empty(values: dict[str, str]) -> list[str]:
    return [name for name, text in values.items() if not text]


def is_sound(name: str, text: str) -> bool:
    if name.endswith("amount"):
        return bool(AMOUNT.fullmatch(text))
    if name in ("isGovEmployee", "deleted"):
        return text.lower() in BOOLEANS
    if name in LABELS:
        return label(text) in LABELS[name]
    if name == "state":
        return len(label(text)) == 2
    if name in ("price_date", "source_ts_ms", "signupDate"):
        return text.isdecimal() if name == "source_ts_ms" else len(text) == 10 and is_day(text)
    if name.endswith(("_at", "_ts", "_date", "_timestamp", "updatedAt")):
        return bool(TIMESTAMP.fullmatch(text)) and is_day(text[:10])
    if name == "email":
        return bool(re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text))
    if name == "market_cap_rank":
        return text.isdecimal() and int(text) >= 1
    if name.endswith(("_usd", "_supply", "_24h")):
        return bool(NUMBER.fullmatch(text)) and abs(Decimal(text)) < 10**20 and is_possible(name, Decimal(text))
    return name not in ("page_type", "event_type") or label(text) != ""


def is_possible(name: str, value: Decimal) -> bool:
    return (
        value > 0 if name.endswith("_price_usd") else value >= 0 or name not in ("market_cap_usd", "total_volume_usd")
    )


def is_sound_in_shop(name: str, values: dict[str, str]) -> bool:
    text = values[name]
    if name == "discount":
        return is_discount(text, values)
    if name == "quantity":
        return bool(WHOLE_NUMBER.fullmatch(text)) and int(text) != 0 and abs(int(text)) <= 1000
    if name in ("unit_price", "unit_cost"):
        return bool(AMOUNT.fullmatch(text)) and 0 <= amount(text) <= 100_000
    if name.endswith("_date"):
        return len(text) == 10 and is_day(text) and (name != "order_date" or "2000" <= text[:4] <= "2099")
    if name == "status":
        return label(text) in {"placed", "shipped", "delivered", "returned", "cancelled"}
    if name == "country":
        return len(label(text)) == 2
    return bool(label(text)) if name == "category" else is_sound(name, text)


def is_discount(text: str, values: dict[str, str]) -> bool:
    """Whether it is a share, or an amount that is not more than its line's: as far as that is known."""
    if text.endswith("%"):
        return bool(re.fullmatch(r"\d{1,3}(\.\d\d?)? ?%", text)) and Decimal(text[:-1].strip()) <= 100
    if not AMOUNT.fullmatch(text) or amount(text) < 0:
        return False
    if not WHOLE_NUMBER.fullmatch(values["quantity"]) or not AMOUNT.fullmatch(values["unit_price"]):
        return True
    return amount(text) <= abs(int(values["quantity"]) * amount(values["unit_price"]))


def amount(text: str) -> Decimal:
    return (-1 if re.search("[(-]", text) else 1) * Decimal(re.sub("[^0-9.]", "", text))


def label(text: str) -> str:
    return re.sub("[^a-z0-9]+", "_", text.lower()).strip("_")


def is_day(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc))
    return False


# The same bytes everywhere


@each_feed
def test_the_committed_data_is_what_the_generator_writes(feed, tmp_path):
    assert contents(generate(tmp_path, feed), feed) == contents(DATA, feed)


@each_feed
def test_another_process_with_another_hash_seed_writes_the_same_bytes(feed, tmp_path):
    script = ROOT / "benchmarks/generator/generate_data.py"
    command = [sys.executable, script, "--feed", feed, "--scale", "3", "--seed", "11"]
    for seed in ("0", "1"):
        subprocess.run([*command, "--out", tmp_path / seed], check=True, env={**os.environ, "PYTHONHASHSEED": seed})
    assert contents(tmp_path / "0", feed) == contents(tmp_path / "1", feed) != {}


@each_feed
def test_another_seed_changes_regular_rows_and_no_planted_one(feed, tmp_path):
    other = generate(tmp_path, feed, "--seed", "8")
    assert contents(other, feed) != contents(DATA, feed)
    for row in PLANTED[feed]:
        assert dict(read_lines(other, row.path))[row.line] == dict(read_lines(DATA, row.path))[row.line]


@each_feed
def test_gz_files_carry_no_time_and_any_reader_opens_them(feed):
    gz = {path: data for path, data in contents(DATA, feed).items() if path.endswith(".gz")}
    assert gz
    for data in gz.values():
        assert data[4:8] == bytes(4)
        assert gzip.decompress(data).startswith((b"order_id,", b"transaction_id,", b"asset_id,", b"id,user_id,"))


def test_a_gz_file_longer_than_a_block_reads_back_whole():
    class Kept(io.BytesIO):
        def close(self):
            pass

    kept, text = Kept(), bytes(range(256)) * 1000
    with StoredGzip(kept) as file:
        for start in range(0, len(text), 777):
            file.write(text[start : start + 777])
    assert gzip.decompress(kept.getvalue()) == text


# Size


def test_the_committed_data_is_small(committed):
    assert sum(map(len, contents(DATA, "tickets").values())) < 300_000
    assert len(set(column(committed["tickets"], "orders", "order_id"))) >= 1000
    assert len(column(committed["tickets"], "pages", "page_id")) >= 800
    assert sum(map(len, contents(DATA, "market").values())) < 250_000
    assert sum(map(len, contents(DATA, "shop").values())) < 150_000
    assert sum(map(len, contents(DATA, "courses").values())) < 200_000


def test_orders_grow_with_the_scale_and_keep_to_the_ten_weeks(tmp_path):
    deliveries = read_feed(generate(tmp_path, "tickets", "--scale", "5"), "tickets")
    orders = [
        row
        for (entity, _), rows in deliveries.items()
        for _, row in rows
        if entity == "orders" and judge("tickets", "orders", row) == "kept"
    ]
    regular = {row["order_id"] for row in orders if row["order_id"].strip() > "o_00100"}
    assert 5 * 1055 * 0.99 < len(regular) <= 5 * 1055
    assert {row["created_at"].strip()[:7] for row in orders} == {"2025-12", "2026-01", "2026-02"}


def test_orders_and_customers_of_the_shop_grow_with_the_scale_and_closed_days_stay(tmp_path):
    deliveries = read_feed(generate(tmp_path, "shop", "--scale", "5"), "shop")
    orders = [row for row in sound_rows(deliveries, "shop", "orders") if row["order_id"].strip() > "o_1000"]
    assert 5 * 420 * 0.99 < len({row["order_id"] for row in orders}) <= 5 * 420
    customers = {row["customer_id"] for row in sound_rows(deliveries, "shop", "customers")}
    assert 5 * 90 * 0.99 < len([customer for customer in customers if customer > "c_100"]) <= 5 * 90
    ten_weeks = {f"{datetime(2025, 12, 1, tzinfo=timezone.utc) + timedelta(days=day):%Y-%m-%d}" for day in range(70)}
    assert {row["order_date"] for row in orders} == ten_weeks - CLOSED_DAYS


def test_assets_grow_with_the_scale_and_stay_in_order(tmp_path):
    deliveries = read_feed(generate(tmp_path, "market", "--scale", "5"), "market")
    assert 10 * 5 <= len(set(column(deliveries, "coin_price_history", "asset_id")) - {"", "N/A"}) <= 10 * 5 + 2
    for snapshot in ranked(deliveries).values():
        caps = [float(row["market_cap_usd"]) for row in snapshot.values() if NUMBER.fullmatch(row["market_cap_usd"])]
        assert 500 * 0.99 < len(caps) <= 500
        assert caps == sorted(caps, reverse=True)


def test_learners_grow_with_the_scale_and_courses_slowly(tmp_path):
    deliveries = read_feed(generate(tmp_path, "courses", "--scale", "16"), "courses")
    grown = {
        entity: len({key for key in column(deliveries, entity, columns[0]) if key[2:].isdecimal()})
        for entity, columns in FEEDS["courses"].columns.items()
    }
    assert 16 * 140 <= grown["users"] < 16 * 140 + 100
    assert 16 * 280 < grown["enrolments"] < 16 * 360
    assert 16 * 1500 < grown["events"] < 16 * 1900
    assert 15 + 3 <= grown["courses"] < 15 + 3 + 20
    assert {text.strip()[:7] for text in column(deliveries, "events", "event_timestamp") if is_day(text[:10])} == {
        "2025-12",
        "2026-01",
        "2026-02",
    }


@pytest.mark.parametrize(
    ("feed", "entity", "fates"),
    [
        ("tickets", "orders", ["row total_amount", "row created_at"]),
        ("tickets", "pages", ["value page_type"]),
        ("market", "coin_markets_snapshot", ["row asset_id", "value ath_date", "value market_cap_rank"]),
        ("market", "coin_price_history", ["row close_price_usd", "row price_date", "value market_cap_usd"]),
        ("shop", "orders", ["row quantity", "row unit_price", "row discount", "row order_date", "row status"]),
        ("courses", "users", ["row id", "row deleted", "value state", "value isGovEmployee"]),
        ("courses", "enrolments", ["row user_id", "row enrolled_at", "value status"]),
        ("courses", "events", ["row id", "row event_type", "row event_timestamp"]),
    ],
)
def test_rows_are_spoiled_above_scale_1(feed, entity, fates, tmp_path):
    deliveries = read_feed(generate(tmp_path, feed, "--scale", "40"), feed)
    planted = Counter(row.fate for row in PLANTED[feed] if row.entity == entity)
    rows = [row for key, rows in deliveries.items() if key[0] == entity for _, row in rows]
    seen = Counter(judge(feed, entity, row) for row in rows)
    assert all(seen[fate] > planted[fate] for fate in fates)
    assert len(rows) - len({str(row) for row in rows}) > 2
    assert len(rows) - seen["kept"] < 0.01 * len(rows)


@each_feed
def test_memory_does_not_grow_with_the_scale(feed, tmp_path):
    def peak(scale: str) -> int:
        tracemalloc.start()
        generate(tmp_path, feed, "--scale", scale)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak("1")  # the first run also pays for what Python caches
    assert peak("20") < peak("2") + 500_000  # bytes; the files of scale 20 hold 4 million


# The mess


@each_feed
def test_each_planted_row_stands_where_the_generator_says(feed, committed):
    for planted in PLANTED[feed]:
        row, columns = dict(committed[feed][planted.entity, planted.batch])[planted.line], FEEDS[feed].columns
        if planted.fate == "line":
            assert row is None
        else:
            assert set(row) == set(columns[planted.entity])
            values = tuple(row[name] for name in columns[planted.entity])
            assert values == planted.values or (
                ".json" in planted.path and as_numbers(values) == as_numbers(planted.values)
            )


def as_numbers(values: tuple) -> list:
    """The values with 45.0 and 45.00 as the same."""
    return [Decimal(value) if NUMBER.fullmatch(value) else value for value in values]


@each_feed
def test_exactly_the_planted_rows_are_rejected_for_exactly_the_reasons_given(feed, committed):
    found = {
        (entity, batch, number, fate)
        for (entity, batch), rows in committed[feed].items()
        for number, row in rows
        if (fate := judge(feed, entity, row)) != "kept"
    }
    assert found == {(row.entity, row.batch, row.line, row.fate) for row in PLANTED[feed] if row.fate != "kept"}


@pytest.mark.parametrize(
    ("feed", "not_planted", "planted", "lines"),
    [
        # As for any key; nothing is learned from one more.
        ("tickets", {"row showtime_id"}, {"value email", "value page_type", "row created_at, total_amount"}, 4),
        (
            "market",
            set(),
            {
                "value current_price_usd", "value market_cap_usd", "value total_volume_usd", "value market_cap_rank",
                "value high_24h_usd", "value max_supply", "value ath_date", "value last_updated_ts",
                "value ath_usd, atl_usd", "row ingested_at_ts, asset_id", "row price_date, close_price_usd",
            },
            3,
        ),
        (
            "shop",
            set(),
            {
                "value email", "value country", "value signup_date", "value category", "value unit_price",
                "value unit_cost", "value unit_price, unit_cost", "row quantity, discount", "row order_date, status",
            },
            3,
        ),
        (
            "courses",
            set(),
            {
                "value email", "value signupDate", "value state", "value isGovEmployee", "value updatedAt",
                "value level", "value course_created_at", "value status", "value email, state",
                "value level, course_created_at", "row course_id, event_type", "row event_type, event_timestamp",
            },
            3,
        ),
    ],
)  # fmt: skip
def test_every_kind_of_rejection_is_planted(feed, not_planted, planted, lines):
    fates = Counter(row.fate for row in PLANTED[feed])
    required = {f"row {name}" for names in REQUIRED[feed].values() for name in names}
    assert required - set(fates) == not_planted
    assert planted <= set(fates)
    assert fates["line"] == lines


def test_every_spelling_is_planted():
    values = {feed: {value for row in PLANTED[feed] for value in row.values} for feed in FEEDS}
    for feed in FEEDS:
        assert {"", "N/A", "NULL", "None", "null", "-"} <= values[feed]
    assert {"$200.50", "1,000.00", "$1,250", "+62.50", "(15.00)", "-$5.00", "$-5", "($5.00)", "$(5.00)"} <= values[
        "tickets"
    ]
    assert {"12.345", "abc", "1,00", "1e3", "2026-02-30", "03/02/2026", "yesterday", "?!"} <= values["tickets"]
    assert {"Viewed Product Page", "VIEWED_PRODUCT_PAGE", "viewed-product-page", "viewed_product_page"} <= values[
        "tickets"
    ]
    assert {"1.2e-07", "5.1E-1", "0.0000123", "+0.53", " 2025-03-01 "} <= values["market"]
    assert {"twelve", "1,2,3", "NaN", "1e999", "0x10", "0", "-0.5", "2026-02-30"} <= values["market"]
    assert {"5.00", "$5", "10%", "12.5 %", "0", "0%", "100%", "120%", "ten percent", "-10%"} <= values["shop"]
    assert {"$1,250.00", "1,000.00", "($5.00)", "two", "1.5", "Germany", "03/02/2026", "2206-02-03"} <= values["shop"]
    assert {"Shipped", "DELIVERED", "Delivered.", "placed", "CANCELLED", "lost"} <= {v.strip() for v in values["shop"]}
    assert {value.lower() for value in values["courses"]} >= BOOLEANS
    assert {"TRUE", "FALSE", "maybe", "perhaps", "Texas", "x", "expert", "paused", "canceled"} <= values["courses"]
    assert {"2026-02-30", "03/02/2026", "?!", "beamed_up", "Video Play", "QUIZ_SUBMIT"} <= values["courses"]
    assert {"video:", "video", "intro", " Video : 14 ", "video:abc", "page:7"} <= values["courses"]


@pytest.mark.parametrize(
    ("feed", "extensions", "spreadsheet", "reordered"),
    [
        (
            "tickets",
            {".csv", ".json", ".jsonl", ".csv.gz"},
            ("orders/batch_001.csv", b"order_id,"),
            ("orders/batch_002.csv", b"total_amount,order_id,created_at,"),
        ),
        (
            "market",
            {".csv", ".jsonl", ".csv.gz"},
            ("coin_markets_snapshot/batch_001.csv", b"ingested_at_ts,"),
            ("coin_markets_snapshot/batch_002.csv", b"asset_id,name,symbol,market_cap_rank,"),
        ),
        (
            "shop",
            {".csv", ".json", ".jsonl", ".csv.gz"},
            ("orders/batch_001.csv", b"order_id,"),
            ("customers/batch_002.csv", b"country,customer_id,signup_date,"),
        ),
        (
            "courses",
            {".csv", ".json", ".jsonl", ".csv.gz"},
            ("events/batch_001.csv", b"id,user_id,"),
            ("users/batch_003.csv", b"updatedAt,deleted,id,"),
        ),
    ],
)
def test_files_come_in_every_format_and_with_every_quirk(feed, extensions, spreadsheet, reordered):
    files = contents(DATA, feed)
    assert {"".join(Path(path).suffixes) for path in files} == extensions
    saved = files[f"incremental/{feed}/{spreadsheet[0]}"]
    assert saved.startswith(b"\xef\xbb\xbf" + spreadsheet[1])
    assert saved.count(b"\n") == saved.count(b"\r\n") > 100
    assert files[f"incremental/{feed}/{reordered[0]}"].startswith(reordered[1])
    batches = Counter(batch for _, batch, _, _ in FEEDS[feed].files)
    assert set(batches) == {"initial", "batch_001", "batch_002", "batch_003"}
    assert batches["initial"] == len(FEEDS[feed].columns)


@pytest.mark.parametrize(
    ("feed", "entity"),
    [(feed, entity) for feed in FEEDS for entity in FEEDS[feed].columns if entity in {
        "accounts", "orders", "transactions", "pages", "coin_markets_snapshot", "coin_price_history",
        "users", "courses", "enrolments", "events", "customers", "products",
    } and (feed, entity) != ("tickets", "events")],
)  # fmt: skip
def test_there_are_duplicates_within_a_batch_and_across_batches(feed, entity, committed):
    batches_of = {}
    for (name, batch), rows in committed[feed].items():
        for _, row in rows:
            if name == entity and row:
                batches_of.setdefault(tuple(sorted(row.items())), []).append(batch)
    repeated = [batches for batches in batches_of.values() if len(batches) > 1]
    assert ["initial", "initial", "batch_001"] in repeated
    if entity != "coin_price_history":  # of which each extraction brings some days again
        assert len(repeated) == 1


# The stories of tickets


def test_references_are_sound_but_for_the_planted_ones(tickets):
    known = {entity: set(column(tickets, entity, f"{entity[:-1]}_id")) for entity in ("events", "showtimes", "orders")}
    accounts = {
        row["account_id"].strip()
        for (entity, _), rows in tickets.items()
        for _, row in rows
        if entity == "accounts" and judge("tickets", entity, row) == "kept"
    }
    assert set(column(tickets, "orders", "account_id")) - accounts == {"N/A"}
    assert set(column(tickets, "orders", "showtime_id")) - known["showtimes"] == {"", "N/A", "s_000"}
    assert set(column(tickets, "showtimes", "event_id")) - known["events"] == {"-", "e_00"}
    assert set(column(tickets, "transactions", "order_id")) - known["orders"] == {"o_00000"}


def test_some_rows_arrive_before_what_they_point_at(tickets):
    order = list(dict.fromkeys(batch for _, batch, _, _ in FEEDS["tickets"].files))

    def first_seen(entity: str, key: str) -> int:
        name = FEEDS["tickets"].columns[entity][0]
        return min(
            order.index(batch)
            for (of, batch), rows in tickets.items()
            for _, row in rows
            if of == entity and row and row[name].strip() == key
        )

    assert first_seen("orders", "o_00022") < first_seen("showtimes", "s_004")
    assert first_seen("orders", "o_00023") < first_seen("showtimes", "s_005")
    assert first_seen("showtimes", "s_006") < first_seen("events", "e_06")
    assert first_seen("orders", "o_00025") < first_seen("accounts", "a_0009")
    assert first_seen("transactions", "t_00012") < first_seen("orders", "o_00026")


def test_corrections_change_what_their_stories_say(tickets):
    def versions(entity: str, key: str) -> list[tuple]:
        name = FEEDS["tickets"].columns[entity][0]
        return [
            tuple(row[column] for column in FEEDS["tickets"].columns[entity][1:])
            for (of, _), rows in tickets.items()
            for _, row in rows
            if of == entity and row and row[name] == key
        ]

    assert [version[0] for version in versions("showtimes", "s_003")] == ["e_01", "e_03"]
    assert [version[0] for version in versions("transactions", "t_00009")] == ["o_00017", "o_00019"]
    before, after = versions("orders", "o_00018")
    weeks = [datetime.fromisoformat(version[2][:10]).isocalendar()[:2] for version in (before, after)]
    assert weeks[0] != weeks[1]
    assert [version[1] for version in (before, after)] == ["s_001", "s_002"]


def test_identity_stories_end_as_told(tickets):
    merges = [
        tuple(value.strip() for value in row.values())
        for (entity, _), rows in tickets.items()
        for _, row in rows
        if entity == "identity_merges" and judge("tickets", entity, row) == "kept"
    ]
    merges = [merge for merge in merges if merge[0] != merge[1] and merge[:2] != ("c_0018", "c_0019")]
    latest = {source: (at, target) for source, target, at in sorted(merges, key=lambda merge: (merge[2], merge[1]))}

    def canonical(customer: str) -> str:
        path = [customer]
        while path[-1] in latest:
            target = latest[path[-1]][1]
            if target in path:
                cycle = path[path.index(target) :]
                return max(latest[member] for member in cycle)[1]
            path.append(target)
        return path[-1]

    assert {f"c_{number:04d}": canonical(f"c_{number:04d}") for number in (1, 3, 6, 10, 11, 12, 13, 14, 15)} == {
        "c_0001": "c_0002",
        "c_0003": "c_0005",
        "c_0006": "c_0008",
        "c_0010": "c_0009",
        "c_0011": "c_0009",
        "c_0012": "c_0014",
        "c_0013": "c_0014",
        "c_0014": "c_0014",
        "c_0015": "c_0014",
    }
    assert [canonical(name) for name in ("c_0016", "c_0017", "c_0018", "c_0022")] == [
        "c_0016", "c_0017", "c_0018", "c_0023",
    ]  # fmt: skip


# The stories of market


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
        for snapshot in ranked(committed["market"]).values()
    ]


@pytest.fixture
def points(committed) -> dict[tuple[str, str], dict[str, list[dict]]]:
    """The regular points of prices, by asset and date, then by batch."""
    found = {}
    for (entity, batch), rows in committed["market"].items():
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
        for (entity, _), rows in committed["market"].items()
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
    for row in PLANTED["market"]:
        values = dict(zip(FEEDS["market"].columns[row.entity], row.values, strict=False))
        assert "chaff" in values.get("asset_id", "chaff") or values["asset_id"] in SENTINELS
        assert row.fate != "kept" or values.get("market_cap_rank", "") in SENTINELS
        cap = values.get("market_cap_usd", "").strip()
        assert not NUMBER.fullmatch(cap) or float(cap) < 1e6


# The stories of the shop

CLOSED_DAYS = {"2025-12-25", "2025-12-26", "2026-01-01", "2026-01-02"}


def sound_rows(deliveries: Deliveries, feed: str, entity: str) -> list[dict[str, str]]:
    """The rows that the warehouse uses, in the order of loading, trimmed."""
    return [
        {name: text.strip() for name, text in row.items()}
        for (of, _), rows in deliveries.items()
        for _, row in rows
        if of == entity and judge(feed, entity, row).startswith(("kept", "value"))
    ]


@pytest.fixture
def lines(committed) -> dict[tuple[str, str, bool], dict[str, str]]:
    """The current version of each line of an order, by order, product and whether it is a return."""
    rows = sound_rows(committed["shop"], "shop", "orders")
    return {
        (row["order_id"], row["product_id"], int(row["quantity"]) < 0): {**row, "status": label(row["status"])}
        for row in rows
    }


def test_the_shop_is_as_large_and_as_mixed_as_it_says(lines):
    regular = [row for row in lines.values() if row["order_id"] > "o_1000"]
    sales = [row for row in regular if int(row["quantity"]) > 0]
    assert 850 < len(sales) < 950
    assert 0.02 < len(regular) / len(sales) - 1 < 0.05
    statuses = Counter(row["status"] for row in sales)
    assert set(statuses) == {"placed", "shipped", "delivered", "returned", "cancelled"}
    assert 0.03 < statuses["cancelled"] / len(sales) < 0.07
    assert 0.03 < statuses["returned"] / len(sales) < 0.06
    in_percent = sum("%" in row["discount"] for row in sales)
    assert 0.06 < in_percent / len(sales) < 0.10
    assert 0.06 < (sum(row["discount"] != "" for row in sales) - in_percent) / len(sales) < 0.10


def test_some_customers_order_often_many_once_and_a_few_never(lines):
    customer_of, dates = {}, {}
    for row in lines.values():
        if row["order_id"] > "o_1000" and int(row["quantity"]) > 0:
            assert customer_of.setdefault(row["order_id"], row["customer_id"]) == row["customer_id"]
            assert dates.setdefault(row["order_id"], row["order_date"]) == row["order_date"]
    assert len(customer_of) == 420
    orders = Counter(Counter(customer_of.values()).values())
    assert orders[1] > 30
    assert sum(customers for count, customers in orders.items() if count > 10) > 5
    assert 3 <= 90 - sum(orders.values()) <= 5


def test_some_days_are_without_sales(lines):
    counted = {row["order_date"] for row in lines.values() if row["status"] != "cancelled"}
    ten_weeks = {f"{datetime(2025, 12, 1, tzinfo=timezone.utc) + timedelta(days=day):%Y-%m-%d}" for day in range(70)}
    assert ten_weeks - counted == CLOSED_DAYS
    assert counted <= ten_weeks
    (cancelled,) = [key for key, row in lines.items() if row["order_date"] in CLOSED_DAYS]
    assert cancelled == ("o_0020", "p_05", False)


def test_one_line_moves_away_from_a_day_that_has_no_other(lines, committed):
    rows = sound_rows(committed["shop"], "shop", "orders")
    assert [row["order_id"] for row in rows if row["order_date"] == "2025-12-25"] == ["o_0012"]
    assert lines["o_0012", "p_04", False]["order_date"] == "2025-12-27"


def test_no_more_comes_back_than_was_sold_but_of_the_sale_that_never_arrives(lines):
    returns = {key: row for key, row in lines.items() if key[2]}
    too_much = set()
    for (order, product, _), row in returns.items():
        sale = lines.get((order, product, False))
        if sale is None or sale["status"] in ("returned", "cancelled") or -int(row["quantity"]) > int(sale["quantity"]):
            too_much.add(order)
        elif row["status"] != "cancelled":
            assert row["order_date"] >= sale["order_date"]
            assert row["customer_id"] == sale["customer_id"]
    assert too_much == {"o_0028"}
    assert {row["status"] for row in returns.values()} == {"returned", "delivered", "cancelled"}


def test_references_of_the_shop_are_sound_but_for_the_planted_ones(lines, committed):
    customers = {row["customer_id"] for row in sound_rows(committed["shop"], "shop", "customers")}
    products = {row["product_id"] for row in sound_rows(committed["shop"], "shop", "products")}
    assert {row["customer_id"] for row in lines.values()} - customers == {"c_000"}
    assert {row["product_id"] for row in lines.values()} - products == {"p_00"}
    assert products - {row["product_id"] for row in lines.values()} >= {"p_55"}


def test_regular_sales_are_at_the_price_of_their_time(lines, committed):
    prices = {}
    for batch, weeks in shop.WEEKS.items():
        for _, row in committed["shop"].get(("products", batch), []):
            if row and row["product_id"] > "p_30":
                prices[row["product_id"]] = amount(row["unit_price"])
        for (order, product, is_return), row in lines.items():
            if order > "o_1000" and not is_return and shop.DAYS.index(row["order_date"]) // 7 in weeks:
                assert amount(row["unit_price"]) == prices[product]


def test_lines_done_by_hand_stay_as_they_are(lines):
    by_hand = {("o_0001", "p_01"), ("o_0001", "p_02"), ("o_0002", "p_01"), ("o_0003", "p_02")}
    assert {key[:2] for key, row in lines.items() if row["customer_id"] == "c_001"} == by_hand
    assert {key[0] for key in lines if key[1] == "p_01"} == {"o_0001", "o_0002", "o_0004"}


# The stories of courses


@pytest.fixture
def sound(committed) -> dict[str, list[dict]]:
    """The rows of courses that staging keeps, trimmed, by entity, in the order of delivery."""
    found = {entity: [] for entity in FEEDS["courses"].columns}
    for (entity, batch), rows in committed["courses"].items():
        for _, row in rows:
            if not judge("courses", entity, row).startswith(("row", "line")):
                found[entity].append({"batch": batch, **{name: text.strip() for name, text in row.items()}})
    return found


@pytest.fixture
def latest(sound) -> dict[str, dict[str, dict]]:
    """What the warehouse must believe, by entity and key: of users, the latest update; of all else, the last row."""

    def updated(row: dict) -> datetime:
        text = row["updatedAt"]
        is_told = text not in SENTINELS and is_sound("updatedAt", text)
        at = datetime.fromisoformat(text.replace("Z", "+00:00") if is_told else "0001-01-01")
        return at if at.tzinfo else at.replace(tzinfo=timezone.utc)

    users = sorted(sound["users"], key=updated)  # rows that are equal stay in the order of delivery
    keys = {entity: columns[0] for entity, columns in FEEDS["courses"].columns.items()}
    return {entity: {row[keys[entity]]: row for row in rows} for entity, rows in {**sound, "users": users}.items()}


def deleted(latest) -> set[str]:
    return {key for key, row in latest["users"].items() if row["deleted"].lower() in {"true", "t", "yes", "y", "1"}}


def test_the_latest_update_of_a_user_wins_whatever_the_order_of_arrival(latest):
    family_names = {key: latest["users"][key]["fullName"].split()[1] for key in (f"u_{n:03d}" for n in range(15, 24))}
    assert family_names == {
        "u_015": "Vos",  # older, delivered later
        "u_016": "Ruiz",  # newer
        "u_017": "Quist",  # equal, a batch later
        "u_018": "Cole",  # without a time, delivered later
        "u_019": "Moss",  # both without a time
        "u_020": "Park",  # older, a line later
        "u_021": "Gray",  # equal, a line later
        "u_022": "Sato",  # older by its offset
        "u_023": "Diaz",  # its time is unreadable
    }
    assert {f"u_{n:03d}" for n in (11, 12, 25, 27)} == {key for key in deleted(latest) if key < "u_101"}


def test_some_users_change_and_some_are_deleted_in_later_batches(sound, latest):
    rows = Counter(row["id"] for row in sound["users"] if row["id"] > "u_100")
    changed = [key for key, count in rows.items() if count > 1]
    left = {key for key in deleted(latest) if key > "u_100"}
    assert 10 < len(changed) < 40
    assert 4 < len(left) < 15
    assert left < set(changed)


def test_references_of_learners_are_sound_but_for_the_planted_ones(sound, latest):
    for entity in ("enrolments", "events"):
        assert {row["user_id"] for row in sound[entity]} - set(latest["users"]) == {"u_000"}
        assert {row["course_id"] for row in sound[entity]} - set(latest["courses"]) == {"k_00"}


def test_some_learners_come_before_their_user_or_course(sound):
    def first(entity: str, name: str, key: str) -> str:
        return min(row["batch"].replace("initial", "") for row in sound[entity] if row[name] == key)

    assert first("enrolments", "user_id", "u_030") < first("users", "id", "u_030")
    assert first("events", "user_id", "u_030") < first("users", "id", "u_030")
    assert first("enrolments", "course_id", "k_12") < first("courses", "course_id", "k_12")
    assert first("events", "course_id", "k_13") < first("courses", "course_id", "k_13")
    assert first("events", "id", "v_00048") < first("enrolments", "enrolment_id", "n_0034")


def test_some_users_are_enrolled_more_than_once_in_a_course(latest):
    seen = {(row["user_id"], row["course_id"], label(row["event_type"])) for row in latest["events"].values()}
    statuses = {}
    for row in latest["enrolments"].values():
        statuses.setdefault((row["user_id"], row["course_id"]), []).append(label(row["status"]))
    again = {key: found for key, found in statuses.items() if len(found) > 1}
    assert {key[0]: found for key, found in again.items() if key[1] == "k_03"} == {
        "u_002": ["completed", "active"],
        "u_003": ["completed", "completed", "active"],
        "u_004": ["cancelled", "active"],
        "u_005": ["cancelled", "cancelled"],
        "u_006": ["active", "active"],
    }
    assert {(user, "k_03", kind) for user in ("u_002", "u_003") for kind in ("quiz_submit", "video_complete")} <= seen
    regular = [found for key, found in statuses.items() if key[0] > "u_100"]
    assert 0.03 * 140 < sum(len(found) > 1 for found in regular) < 0.1 * 140
    counts = Counter(status for found in regular for status in found)
    assert 0.05 < counts["cancelled"] / counts.total() < 0.12
    assert 280 < counts.total() < 360


def test_most_events_are_of_learners_in_their_courses(latest):
    enrolled = {(row["user_id"], row["course_id"]) for row in latest["enrolments"].values()}
    events = [(row["user_id"], row["course_id"]) for key, row in latest["events"].items() if key > "v_00100"]
    assert 1500 < len(events) < 1900
    assert 5 < sum(event not in enrolled for event in events) < 0.05 * len(events)
    assert len({user for user, _ in enrolled if user > "u_100"} - {user for user, _ in events}) > 2
    assert {label(row["event_type"]) for row in latest["events"].values()} == {
        "video_play", "video_complete", "video_pause", "quiz_start", "quiz_submit", "page_view", "forum_post",
        "download", "certificate_view", "beamed_up",
    }  # fmt: skip


def test_three_courses_have_nobody_who_stays(latest):
    learners = {key: [] for key in latest["courses"]}
    for row in latest["enrolments"].values():
        learners.setdefault(row["course_id"], []).append((label(row["status"]), row["user_id"]))
    assert learners[courses.NEVER_CHOSEN] == []
    assert {status for status, _ in learners[courses.CALLED_OFF]} == {"cancelled"}
    assert {user for _, user in learners[courses.ABANDONED]} <= deleted(latest)
    assert len(learners[courses.ABANDONED]) > 2
    assert all(len(set(found)) > 5 for key, found in learners.items() if "k_20" < key < "k_32" or key == "k_35")


def test_one_session_is_of_two_users_and_some_events_are_of_none(latest):
    users = {}
    for row in latest["events"].values():
        users.setdefault(row["session_id"], set()).add(row["user_id"])
    assert [key for key, found in users.items() if len(found) > 1 and key not in SENTINELS] == ["s_00020"]
    assert len(users[""]) > 10


# The command


@each_feed
def test_explain_names_every_planted_row_and_writes_nothing(feed, capsys, tmp_path):
    assert main(["--feed", feed, "--explain", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert all(f"{row.path}:{row.line}  " in told for row in PLANTED[feed])
    assert FEEDS[feed].told in told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("scale", ["0", "-1", "many", "1.5"])
def test_a_scale_that_is_no_whole_number_is_refused(scale, capsys):
    with pytest.raises(SystemExit):
        main(["--feed", "tickets", "--scale", scale])
    assert "is not a whole number from 1" in capsys.readouterr().err


def test_an_unwritable_place_is_a_clear_error_and_leaves_nothing(tmp_path, capsys):
    (tmp_path / "initial").write_text("a file where a directory must be")
    assert main(["--feed", "tickets", "--out", str(tmp_path)]) == 1
    assert re.fullmatch(r"error: can't write .*; choose another directory with --out\n", capsys.readouterr().err)
    assert [path.name for path in tmp_path.iterdir()] == ["initial"]


@pytest.mark.parametrize(
    ("feed", "slip", "message"),
    [
        ("tickets", "orders batch_009 |o_1|", "not a planted row: orders batch_009"),
        ("market", "coin_price_history initial |price=1|", "coin_price_history has no column price: price=1"),
    ],
)
def test_a_planted_table_with_a_slip_is_refused(feed, slip, message, monkeypatch):
    monkeypatch.setitem(FEEDS, feed, FEEDS[feed]._replace(planted=slip))
    with pytest.raises(ValueError, match=message):
        planted_rows(feed)
