"""The sample data of the shop: it has every mess that it claims to have, and its stories end as told."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from generate_data import planted_rows
from sample_data import shop
from sample_files import (
    AMOUNT,
    DATA,
    EMAIL,
    WHOLE_NUMBER,
    Deliveries,
    Rules,
    amount,
    check_files,
    contents,
    generate,
    is_date,
    label,
    read_feed,
    repeated_rows,
)

pytestmark = pytest.mark.fast

PRICE = re.compile(AMOUNT.pattern.replace("{1,2}", "{1,4}"))


def is_sound(name: str, values: dict[str, str]) -> bool:
    text = values[name]
    if name == "discount":
        return is_discount(text, values)
    if name == "quantity":
        return bool(WHOLE_NUMBER.fullmatch(text)) and 0 < abs(int(text)) <= 1_000_000_000
    if name in ("unit_price", "unit_cost"):
        return bool(PRICE.fullmatch(text)) and (name == "unit_cost" or abs(amount(text)) <= 1_000_000_000)
    if name.endswith("_date"):
        return is_date(text)
    if name == "status":
        return label(text) != ""
    if name == "country":
        return len(label(text)) == 2
    if name == "email":
        return bool(EMAIL.fullmatch(text))
    return name != "category" or label(text) != ""


def is_discount(text: str, values: dict[str, str]) -> bool:
    """Whether it is a share, or an amount that is not more than its line's: as far as that is known."""
    if text.endswith("%"):
        return bool(re.fullmatch(r"\d{1,3}(\.\d\d?)? ?%", text)) and Decimal(text[:-1].strip()) <= 100
    if not AMOUNT.fullmatch(text) or amount(text) < 0:
        return False
    if not WHOLE_NUMBER.fullmatch(values["quantity"]) or not PRICE.fullmatch(values["unit_price"]):
        return True
    return amount(text) <= abs(int(values["quantity"]) * amount(values["unit_price"]))


RULES = Rules(
    "shop",
    {
        "customers": {"customer_id"},
        "products": {"product_id"},
        "orders": {
            "order_id", "product_id", "quantity", "unit_price", "discount", "order_date", "status",
        },
    },
    is_sound,
    {"discount": "0"},
)  # fmt: skip
CLOSED_DAYS = {"2025-12-25", "2025-12-26", "2026-01-01", "2026-01-02"}


@pytest.fixture(scope="module")
def committed() -> Deliveries:
    """The committed data of the feed."""
    return read_feed(DATA, "shop")


def test_every_kind_of_rejection_is_planted_and_nothing_else_is_rejected(committed):
    kinds = {
        "value email", "value country", "value signup_date", "value category", "value unit_price",
        "value unit_cost", "value unit_price, unit_cost", "row quantity, discount", "row order_date, status",
    }  # fmt: skip
    RULES.check_planted(committed, lines=3, kinds=kinds | RULES.required_kinds())


def test_rows_are_spoiled_above_scale_1(tmp_path):
    fates = ["row quantity", "row unit_price", "row discount", "row order_date", "row status"]
    RULES.check_spoiled(tmp_path, "orders", fates)


def test_every_spelling_is_planted():
    values = {value for row in planted_rows("shop") for value in row.values}
    assert {"5.00", "$5", "10%", "12.5 %", "0", "0%", "100%", "120%", "ten percent", "-10%"} <= values
    assert {"$1,250.00", "1,000.00", "($5.00", "two", "1.5", "Germany", "03/02/2026", "2026-13-03"} <= values
    assert {"Shipped", "DELIVERED", "Delivered.", "placed", "CANCELLED", "***"} <= {v.strip() for v in values}


def test_files_come_in_every_format_and_with_every_quirk():
    check_files(
        "shop",
        {".csv", ".json", ".jsonl", ".csv.gz"},
        ("orders/batch_001.csv", b"order_id,"),
        ("customers/batch_002.csv", b"country,customer_id,signup_date,"),
    )


@pytest.mark.parametrize("entity", ["customers", "products", "orders"])
def test_there_are_duplicates_within_a_batch_and_across_batches(entity, committed):
    assert repeated_rows(committed, entity) == [["initial", "initial", "batch_001"]]


def test_the_committed_data_is_small():
    assert sum(map(len, contents(DATA, "shop").values())) < 150_000


def test_orders_and_customers_of_the_shop_grow_with_the_scale_and_closed_days_stay(tmp_path):
    deliveries = read_feed(generate(tmp_path, "shop", "--scale", "5"), "shop")
    orders = [row for row in RULES.sound_rows(deliveries, "orders") if row["order_id"].strip() > "o_1000"]
    assert 5 * 420 * 0.99 < len({row["order_id"] for row in orders}) <= 5 * 420
    customers = {row["customer_id"] for row in RULES.sound_rows(deliveries, "customers")}
    assert 5 * 90 * 0.99 < len([customer for customer in customers if customer > "c_100"]) <= 5 * 90
    ten_weeks = {f"{datetime(2025, 12, 1, tzinfo=timezone.utc) + timedelta(days=day):%Y-%m-%d}" for day in range(70)}
    assert {row["order_date"] for row in orders} == ten_weeks - CLOSED_DAYS


@pytest.fixture
def lines(committed) -> dict[tuple[str, str, bool], dict[str, str]]:
    """The current version of each line of an order, by order, product and whether it is a return."""
    rows = RULES.sound_rows(committed, "orders")
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
    rows = RULES.sound_rows(committed, "orders")
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
    customers = {row["customer_id"] for row in RULES.sound_rows(committed, "customers")}
    products = {row["product_id"] for row in RULES.sound_rows(committed, "products")}
    assert {row["customer_id"] for row in lines.values()} - customers == {"c_000"}
    assert {row["product_id"] for row in lines.values()} - products == {"p_00"}
    assert products - {row["product_id"] for row in lines.values()} >= {"p_55"}


def test_regular_sales_are_at_the_price_of_their_time(lines, committed):
    prices = {}
    for batch, weeks in shop.WEEKS.items():
        for _, row in committed.get(("products", batch), []):
            if row and row["product_id"] > "p_30":
                prices[row["product_id"]] = amount(row["unit_price"])
        for (order, product, is_return), row in lines.items():
            if order > "o_1000" and not is_return and shop.DAYS.index(row["order_date"]) // 7 in weeks:
                assert amount(row["unit_price"]) == prices[product]


def test_lines_done_by_hand_stay_as_they_are(lines):
    by_hand = {("o_0001", "p_01"), ("o_0001", "p_02"), ("o_0002", "p_01"), ("o_0003", "p_02")}
    assert {key[:2] for key, row in lines.items() if row["customer_id"] == "c_001"} == by_hand
    assert {key[0] for key in lines if key[1] == "p_01"} == {"o_0001", "o_0002", "o_0004"}
