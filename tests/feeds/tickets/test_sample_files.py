"""The sample data of tickets: it has every mess that it claims to have, and its stories end as told."""

from __future__ import annotations

from datetime import datetime

import pytest

from generate_data import FEEDS, planted_rows
from sample_files import (
    AMOUNT,
    DATA,
    EMAIL,
    Deliveries,
    Rules,
    check_files,
    column,
    contents,
    generate,
    is_time,
    label,
    read_feed,
    repeated_rows,
)

pytestmark = pytest.mark.fast


def is_sound(name: str, values: dict[str, str]) -> bool:
    text = values[name]
    if name.endswith("amount"):
        return bool(AMOUNT.fullmatch(text))
    if name.endswith("_at"):
        return is_time(text)
    if name == "email":
        return bool(EMAIL.fullmatch(text))
    return name != "page_type" or label(text) != ""


RULES = Rules(
    "tickets",
    {
        "accounts": {"account_id", "created_at"},
        "events": {"event_id"},
        "showtimes": {"showtime_id", "event_id", "start_at"},
        "orders": {"order_id", "account_id", "created_at", "total_amount"},
        "transactions": {"transaction_id", "order_id", "amount", "occurred_at"},
        "pages": {"page_id", "occurred_at"},
        "identity_merges": {"from_customer_id", "to_customer_id", "merged_at"},
    },
    is_sound,
    defaults={},
)


@pytest.fixture(scope="module")
def committed() -> Deliveries:
    """The committed data of the feed."""
    return read_feed(DATA, "tickets")


def test_every_kind_of_rejection_is_planted_and_nothing_else_is_rejected(committed):
    kinds = {"value email", "value page_type", "row created_at, total_amount"}
    kinds |= RULES.required_kinds() - {"row showtime_id"}  # as for any key: nothing is learned from one more
    RULES.check_planted(committed, lines=4, kinds=kinds)


@pytest.mark.parametrize(
    ("entity", "fates"), [("orders", ["row total_amount", "row created_at"]), ("pages", ["value page_type"])]
)
def test_rows_are_spoiled_above_scale_1(entity, fates, tmp_path):
    RULES.check_spoiled(tmp_path, entity, fates)


def test_every_spelling_is_planted():
    values = {value for row in planted_rows("tickets") for value in row.values}
    assert {"$200.50", "1,000.00", "$1,250", "+62.50", "(15.00)", "-$5.00", "$-5", "($5.00)", "$(5.00)"} <= values
    assert {"12.345", "abc", "1,00", "1e3", "2026-02-30", "03/02/2026", "yesterday", "?!"} <= values
    assert {"Viewed Product Page", "VIEWED_PRODUCT_PAGE", "viewed-product-page", "viewed_product_page"} <= values


def test_files_come_in_every_format_and_with_every_quirk():
    check_files(
        "tickets",
        {".csv", ".json", ".jsonl", ".csv.gz"},
        ("orders/batch_001.csv", b"order_id,"),
        ("orders/batch_002.csv", b"total_amount,order_id,created_at,"),
    )


@pytest.mark.parametrize("entity", ["accounts", "orders", "transactions", "pages"])
def test_there_are_duplicates_within_a_batch_and_across_batches(entity, committed):
    assert repeated_rows(committed, entity) == [["initial", "initial", "batch_001"]]


def test_the_committed_data_is_small(committed):
    assert sum(map(len, contents(DATA, "tickets").values())) < 300_000
    assert len(set(column(committed, "orders", "order_id"))) >= 1000
    assert len(column(committed, "pages", "page_id")) >= 800


def test_orders_grow_with_the_scale_and_keep_to_the_ten_weeks(tmp_path):
    deliveries = read_feed(generate(tmp_path, "tickets", "--scale", "5"), "tickets")
    orders = [
        row
        for (entity, _), rows in deliveries.items()
        for _, row in rows
        if entity == "orders" and RULES.judge("orders", row) == "kept"
    ]
    regular = {row["order_id"] for row in orders if row["order_id"].strip() > "o_00100"}
    assert 5 * 1055 * 0.99 < len(regular) <= 5 * 1055
    assert {row["created_at"].strip()[:7] for row in orders} == {"2025-12", "2026-01", "2026-02"}


def test_references_are_sound_but_for_the_planted_ones(committed):
    known = {
        entity: set(column(committed, entity, f"{entity[:-1]}_id")) for entity in ("events", "showtimes", "orders")
    }
    accounts = {
        row["account_id"].strip()
        for (entity, _), rows in committed.items()
        for _, row in rows
        if entity == "accounts" and RULES.judge(entity, row) == "kept"
    }
    assert set(column(committed, "orders", "account_id")) - accounts == {"N/A"}
    assert set(column(committed, "orders", "showtime_id")) - known["showtimes"] == {"", "N/A", "s_000"}
    assert set(column(committed, "showtimes", "event_id")) - known["events"] == {"-", "e_00"}
    assert set(column(committed, "transactions", "order_id")) - known["orders"] == {"o_00000"}


def test_some_rows_arrive_before_what_they_point_at(committed):
    order = list(dict.fromkeys(batch for _, batch, _, _ in FEEDS["tickets"].files))

    def first_seen(entity: str, key: str) -> int:
        name = FEEDS["tickets"].columns[entity][0]
        return min(
            order.index(batch)
            for (of, batch), rows in committed.items()
            for _, row in rows
            if of == entity and row and row[name].strip() == key
        )

    assert first_seen("orders", "o_00022") < first_seen("showtimes", "s_004")
    assert first_seen("orders", "o_00023") < first_seen("showtimes", "s_005")
    assert first_seen("showtimes", "s_006") < first_seen("events", "e_06")
    assert first_seen("orders", "o_00025") < first_seen("accounts", "a_0009")
    assert first_seen("transactions", "t_00012") < first_seen("orders", "o_00026")


def test_corrections_change_what_their_stories_say(committed):
    def versions(entity: str, key: str) -> list[tuple]:
        name = FEEDS["tickets"].columns[entity][0]
        return [
            tuple(row[column] for column in FEEDS["tickets"].columns[entity][1:])
            for (of, _), rows in committed.items()
            for _, row in rows
            if of == entity and row and row[name] == key
        ]

    assert [version[0] for version in versions("showtimes", "s_003")] == ["e_01", "e_03"]
    assert [version[0] for version in versions("transactions", "t_00009")] == ["o_00017", "o_00019"]
    before, after = versions("orders", "o_00018")
    weeks = [datetime.fromisoformat(version[2][:10]).isocalendar()[:2] for version in (before, after)]
    assert weeks[0] != weeks[1]
    assert [version[1] for version in (before, after)] == ["s_001", "s_002"]


def test_identity_stories_end_as_told(committed):
    merges = [
        tuple(value.strip() for value in row.values())
        for (entity, _), rows in committed.items()
        for _, row in rows
        if entity == "identity_merges" and RULES.judge(entity, row) == "kept"
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
