"""The shop feed, from sample data to marts: numbers computed again in Python, and what a late line changes."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import DBT, NO_LIMITS, Database

CENT = Decimal("0.01")
DAILY = "select * from marts.fct_daily_sales order by sales_date"


class Line(NamedTuple):
    """The current version of an order line, with what it counts for."""

    order_id: str
    product_id: str
    customer_id: str
    day: date
    units: int
    returned_units: int
    gross: Decimal
    discount: Decimal
    returns: Decimal

    @property
    def net(self) -> Decimal:
        return self.gross - self.discount - self.returns


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Database:
    database = new_database()
    run(database, "bin/ingest", "shop")
    run(database, *DBT, "build", *NO_LIMITS, "--select", "group:shop", "tag:ledger")
    return database


def run(database: Database, *command: str | Path) -> None:
    done = database.run(*command)
    assert done.returncode == 0, done.stdout + done.stderr


def cents(value: Decimal) -> Decimal:
    return value.quantize(CENT, ROUND_HALF_UP)


def money(text: str) -> Decimal:
    return Decimal(text.replace("$", "").replace(",", ""))


def lines_in_raw(warehouse: Database) -> list[Line]:
    """The current order lines, from the text of the raw rows that staging holds, without any SQL of the models."""
    raw = warehouse.query(
        "select raw.order_id, raw.product_id, raw.customer_id, raw.quantity, raw.unit_price, raw.discount,"
        " raw.order_date, raw.status from raw.shop__orders as raw"
        " inner join staging.stg_shop__orders as staged on raw._row_id = staged._row_id order by raw._row_id"
    )
    current = {}
    for row in raw:
        order, product, customer, quantity, price, discount, day, status = [(text or "").strip() for text in row]
        key = order, product, day if int(quantity) < 0 else ""
        current[key] = (customer, int(quantity), price, discount, day, status.lower())
    lines = []
    for (order, product, day_back), (customer, quantity, price, discount, day, status) in current.items():
        is_return = bool(day_back)
        worth = abs(quantity) * money(price)
        if discount.endswith("%"):
            off = cents(worth * Decimal(discount.rstrip("% ")) / 100)
        else:
            off = money(discount) if re.search(r"\d", discount) else Decimal(0)
        counts = status != "cancelled"
        sold, returned = counts and not is_return, counts and (is_return or status == "returned")
        lines.append(
            Line(
                order,
                product,
                customer,
                date.fromisoformat(day),
                abs(quantity) * sold,
                abs(quantity) * returned,
                worth * sold,
                off * sold,
                (worth - off) * returned,
            )
        )
    return lines


def counted(lines: Iterable[Line]) -> list[Line]:
    return [line for line in lines if line.units or line.returned_units]


def by(lines: Iterable[Line], name: str) -> dict[Any, list[Line]]:
    groups = defaultdict(list)
    for line in lines:
        groups[getattr(line, name)].append(line)
    return groups


def costs(warehouse: Database) -> dict[str, Decimal | None]:
    """The latest delivered cost of each product; None where it can't be read."""
    raw = warehouse.query(
        "select raw.product_id, raw.unit_cost from raw.shop__products as raw"
        " inner join staging.stg_shop__products as staged on raw._row_id = staged._row_id order by raw._row_id"
    )
    latest = {product.strip(): (cost or "").strip() for product, cost in raw}
    return {
        product: money(cost) if re.fullmatch(r"\$?[\d,]+(\.\d\d?)?", cost) and money(cost) <= 100_000 else None
        for product, cost in latest.items()
    }


def check_days(warehouse: Database) -> None:
    """Computes every row of fct_daily_sales again."""
    lines = counted(lines_in_raw(warehouse))
    first, last = min(line.day for line in lines), max(line.day for line in lines)
    days, nets, expected = by(lines, "day"), [], []
    for day in (first + timedelta(days=number) for number in range((last - first).days + 1)):
        on_day = days.get(day, [])
        sold = [line for line in on_day if line.units]
        orders = {line.order_id for line in sold}
        paid = sum(line.gross - line.discount for line in sold)
        nets.append(sum(line.net for line in on_day))
        expected.append((
            day,
            len(orders),
            len({line.customer_id for line in sold}),
            sum(line.units for line in sold),
            sum(line.gross for line in on_day),
            sum(line.discount for line in on_day),
            sum(line.returns for line in on_day),
            0,
            nets[-1],
            0,
            cents(paid / len(orders)) if orders else None,
            cents(sum(nets[-7:]) / Decimal(7)) if len(nets) >= 7 else None,
        ))  # fmt: skip
    assert warehouse.query(DAILY) == expected
    assert len(expected) >= 70


def test_days_are_those_of_the_raw_rows_computed_again(warehouse: Database) -> None:
    check_days(warehouse)
    without_sales = "select sales_date::text from marts.fct_daily_sales where gross_sales_usd = 0 and returns_usd = 0"
    assert sorted(warehouse.query(without_sales)) == [
        ("2025-12-25",),
        ("2025-12-26",),
        ("2026-01-01",),
        ("2026-01-02",),
    ]


def test_customers_are_those_of_the_raw_rows_computed_again(warehouse: Database) -> None:
    lines, cost = lines_in_raw(warehouse), costs(warehouse)
    last = max(line.day for line in counted(lines))

    def margin(line: Line) -> Decimal | None:
        each = cost.get(line.product_id)
        return None if each is None else line.net - (line.units - line.returned_units) * each

    known = [line for line in lines if margin(line) is not None]
    share = round(sum(margin(line) for line in known) / sum(line.net for line in known), 6)
    rows = warehouse.query(
        "select customer_id, order_count, net_revenue_usd, margin_usd, average_order_usd, days_between_orders,"
        " tenure_days, recency_days, historical_value_usd, predicted_12_month_value_usd"
        " from marts.customer_lifetime_value"
    )
    customers = by(lines, "customer_id")
    assert len(rows) > 105
    assert {row[0] for row in rows} >= customers.keys()
    for customer_id, *actual in rows:
        own = customers.get(customer_id, [])
        orders = by([line for line in own if line.units], "order_id")
        dates = sorted(min(line.day for line in order) for order in orders.values())
        value = cents(sum((margin(line) if margin(line) is not None else line.net * share for line in own), Decimal(0)))
        paid = sum(line.gross - line.discount for line in own)
        expected = [
            len(orders),
            sum(line.net for line in own),
            sum(margin(line) for line in own if margin(line) is not None),
            cents(paid / len(orders)) if orders else None,
            cents(Decimal((dates[-1] - dates[0]).days) / (len(dates) - 1)) if len(dates) > 1 else None,
            (last - dates[0]).days if dates else None,
            (last - dates[-1]).days if dates else None,
            value,
        ]
        if dates:
            tenure, recency = max((last - dates[0]).days, 90), (last - dates[-1]).days
            expected.append(cents(max(value, Decimal(0)) / tenure * max(365 - recency, 0)))
        else:
            expected.append(None)
        assert actual == expected, customer_id


def test_products_are_those_of_the_raw_rows_computed_again(warehouse: Database) -> None:
    lines, cost = lines_in_raw(warehouse), costs(warehouse)
    last = max(line.day for line in counted(lines))
    total = sum(line.net for line in lines)
    rows = warehouse.query(
        "select product_id, units, returned_units, net_revenue_usd, margin_usd, round(margin_pct, 2), return_rate,"
        " round(share_of_revenue_pct, 2), net_revenue_last_28d_usd, net_revenue_previous_28d_usd,"
        " round(revenue_trend_28d_pct, 2), first_sale_date, last_sale_date"
        " from marts.product_performance order by revenue_rank"
    )
    assert len(rows) > 45
    products, ranked = by(lines, "product_id"), []
    for product_id, *actual in rows:
        own = products.get(product_id, [])
        net, units = sum(line.net for line in own), sum(line.units for line in own)
        returned, each = sum(line.returned_units for line in own), cost.get(product_id)
        margin = None if each is None else net - (units - returned) * each
        recent = sum(line.net for line in own if 0 <= (last - line.day).days < 28)
        before = sum(line.net for line in own if 28 <= (last - line.day).days < 56)
        sales = [line.day for line in own if line.units]
        assert actual == [
            units,
            returned,
            net,
            margin,
            None if margin is None or not net else pytest.approx(cents(100 * margin / net), abs=CENT),
            pytest.approx(Decimal(returned) / units, abs=Decimal("0.0001")) if units else None,
            pytest.approx(cents(100 * net / total), abs=CENT),
            recent,
            before,
            pytest.approx(cents(100 * recent / before - 100), abs=CENT) if before > 0 else None,
            min(sales, default=None),
            max(sales, default=None),
        ], product_id
        ranked.append((-net, product_id))
    assert ranked == sorted(ranked)


@pytest.mark.parametrize(
    ("mart", "key", "expected"),
    [
        # docs/feeds/shop.md works both out by hand.
        ("customer_lifetime_value", {"customer_id": "c_001"}, {
            "order_count": 3, "units": 8, "net_revenue_usd": "220.0000", "margin_usd": "82.00",
            "average_order_usd": "80.00", "days_between_orders": "24.50", "tenure_days": 68, "recency_days": 19,
            "historical_value_usd": "82.00", "predicted_12_month_value_usd": "315.24", "rfm_segment": "promising",
        }),
        ("product_performance", {"product_id": "p_01"}, {
            "units": 9, "returned_units": 1, "net_revenue_usd": "112.0000", "margin_usd": "16.00",
            "return_rate": "0.1111", "first_sale_date": "2025-12-02",
        }),
        # A correction moved the day's only line away, and it is the only one of its new day's line.
        ("fct_order_lines", {"order_id": "o_0012", "product_id": "p_04"}, {"order_date": "2025-12-27"}),
        ("fct_order_lines", {"order_id": "o_0016", "product_id": "p_06"}, {"quantity": 4}),  # not readable: no change
        ("fct_order_lines", {"order_id": "o_0018"}, {"customer_id": "c_008", "net_sales_usd": "24.0000"}),
        ("fct_order_lines", {"order_id": "o_0039", "is_return": "true"}, {"returns_usd": "0.0000"}),  # it cost nothing
        ("fct_order_lines", {"order_id": "o_0038", "is_return": "true"}, {"returns_usd": "0.0000"}),  # cancelled
        ("fct_order_lines", {"order_id": "o_0028"}, {"units": 0, "returns_usd": "80.0000"}),  # no sale came
        ("product_performance", {"product_id": "p_00"}, {"is_delivered": False, "margin_usd": None}),
        ("customer_lifetime_value", {"customer_id": "c_000"}, {"is_delivered": False}),
    ],
)  # fmt: skip
def test_stories_end_as_told(warehouse: Database, mart: str, key: dict, expected: dict) -> None:
    where = " and ".join(f"{column} = %s" for column in key)
    ((*actual,),) = warehouse.query(f"select {', '.join(expected)} from marts.{mart} where {where}", list(key.values()))
    assert [value if value is None or isinstance(value, bool | int) else str(value) for value in actual] == list(
        expected.values()
    )


@pytest.mark.parametrize(
    ("quantity", "order_date", "status", "changed_count"),
    [
        ("5", "2025-12-15", "placed", 7),  # the day itself, and the averages of the six days after it
        ("5", "2026-01-12", "placed", 14),  # a correction: the day that it leaves, and the one that it enters
        ("5", "2026-01-12", "cancelled", 7),
        ("5", "2026-02-07", "placed", 2),  # back again: the day that it enters, and the average of the last one
        ("5", "2026-02-18", "placed", 12),  # after the last day: ten new days, and the two that it leaves
        ("5", "2025-11-20", "placed", 17),  # before the first: eleven new days, and six that gain an average
        ("5", "2025-11-20", "cancelled", 6),  # these days are gone, and six have no average any more
    ],
)
def test_a_delivered_line_changes_just_the_days_that_depend_on_it(
    warehouse: Database, tmp_path: Path, quantity: str, order_date: str, status: str, changed_count: int
) -> None:
    before = Counter(warehouse.query(DAILY))
    path = tmp_path / "incremental" / "shop" / "orders" / f"{order_date}_{status}.csv"
    path.parent.mkdir(parents=True)
    path.write_text(
        "order_id,customer_id,product_id,quantity,unit_price,discount,order_date,status\n"
        f"o_moving,c_001,p_01,{quantity},20.00,,{order_date},{status}\n"
    )
    run(warehouse, "bin/ingest", "--data-dir", tmp_path)
    run(warehouse, *DBT, "run", "--select", "group:shop", "tag:ledger")
    check_days(warehouse)
    changed = Counter(warehouse.query(DAILY)) - before
    assert changed.total() == changed_count
