"""What real shops deliver: US spellings, guests, twice the same product, adjustments, mistyped years, mills."""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import date, datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from conftest import DBT, MODELS_ONLY, Database
from copies import FULL, apart, differences

CUSTOMERS = "customer_id,name,email,country,signup_date\nc1,Ann,a@example.org,US,2026-01-01\nc2,Bob,b@example.org,US,\n"
PRODUCTS = "product_id,name,category,unit_price,unit_cost\np1,Mug,kitchen,10.00,4.00\np2,Pot,kitchen,20.00,9.00\n"
HEADER = "order_id,customer_id,product_id,quantity,unit_price,discount,order_date,status"
# Before the second delivery, somebody says that the first one came on this day.
FIRST_DELIVERY = "2026-02-01 12:00:00+00"

FIRST = """
us1,c1,p1,1,100.00,,2026-01-02,placed
us2,c1,p1,1,100.00,,2026-01-02,placed
us3,c2,p1,1,100.00,,2026-01-02,placed
guest1,,p1,1,70.00,,2026-01-03,delivered
guest2,c1,p1,1,10.00,,2026-01-03,delivered
partial,c1,p1,5,10.00,,2026-01-04,delivered
twice,c1,p1,1,10.00,,2026-01-10,delivered
twice,c1,p1,2,8.00,,2026-01-10,delivered
twice,c1,p1,2,8.00,,2026-01-10,delivered
corrected,c1,p1,1,10.00,,2026-01-11,delivered
corrected,c1,p1,2,8.00,,2026-01-11,delivered
split,c1,p1,1,10.00,,2026-01-12,delivered
split,c2,p2,1,20.00,,2026-01-12,delivered
held,c1,p1,1,50.00,,2026-01-13,On hold
adjusted,c1,p1,1,-11062.06,,2026-01-14,delivered
adjusted,c1,p1,3,10.00,,2026-01-14,delivered
wholesale,c2,p1,4300,0.125,,2026-01-15,delivered
wholesale,c2,p2,7,0.125,,2026-01-15,delivered
later,c1,p1,1,31.00,,2026-02-20,delivered
far,c1,p1,1,33.00,,2062-03-01,delivered
long_ago,c2,p2,1,9.00,,0202-01-05,delivered
"""
SECOND = """
us1,c1,p1,1,100.00,,2026-01-02,canceled
us2,c1,p1,1,100.00,,2026-01-02,cancelled
us3,c2,p1,1,100.00,,2026-01-02,refunded
partial,c1,p1,-1,10.00,,2026-01-05,returned
corrected,c1,p1,4,8.00,,2026-01-11,delivered
"""
THIRD = """
partial,c1,p1,-2,10.00,,2026-01-09,returned
lost,c1,p1,1,44.00,,2026-01-16,lost
"""
WITH_LINE_IDS = f"""line_id,{HEADER}
1,numbered,c1,p1,1,10.00,,2026-01-17,delivered
2,numbered,c1,p1,1,10.00,,2026-01-17,delivered
3,numbered,c1,p1,1,10.00,,2026-01-17,placed
3,numbered,c1,p1,1,12.00,,2026-01-17,delivered
"""


class Shop:
    """A shop's landing folder and its warehouse."""

    def __init__(self, database: Database, data: Path) -> None:
        self.database, self.data, self.query = database, data, database.query

    def deliver(self, batch: str, content: str, entity: str = "orders") -> None:
        path = self.data / "incremental" / "shop" / entity / f"{batch}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def run(self, *command: str | Path, prefix: str = "", code: int = 0) -> str:
        settings = apart(self.database.environment["DBT_TARGET_PATH"], prefix)
        done = self.database.run(*command, env=settings, timeout=1200)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def ingest(self) -> None:
        self.run("bin/ingest", "--data-dir", self.data)

    def build(self, *arguments: str, prefix: str = "") -> None:
        self.run(*DBT, "build", *MODELS_ONLY, *arguments, prefix=prefix)

    def warnings(self) -> dict[str, int]:
        """Return how many rows each test found that warned in the last run, by its name."""
        path = Path(self.database.environment["DBT_TARGET_PATH"]) / "run_results.json"
        results = json.loads(path.read_text())["results"]
        return {
            result["unique_id"].split(".")[2]: result["failures"] for result in results if result["status"] == "warn"
        }

    def day(self, day: str, columns: str) -> tuple:
        (row,) = self.query(f"select {columns} from marts.fct_daily_sales where sales_date = %s", [day])
        return row


@pytest.fixture(scope="module")
def shop(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop after three deliveries, each of them built, with what the tests of the last build said."""
    made = Shop(new_database(), tmp_path_factory.mktemp("data"))
    made.deliver("b1", CUSTOMERS, "customers")
    made.deliver("b1", PRODUCTS, "products")
    made.deliver("b1", HEADER + FIRST)
    made.ingest()
    made.query("update raw._batches set started_at = %s, finished_at = %s", [FIRST_DELIVERY, FIRST_DELIVERY])
    made.build()
    made.first_days = made.query("select max(sales_date)::text, count(*) from marts.fct_daily_sales")
    made.first_ahead = made.query("select order_id from marts.fct_order_lines where is_dated_ahead order by 1")
    made.deliver("b2", HEADER + SECOND)
    made.ingest()
    made.build()
    made.deliver("b3", HEADER + THIRD)
    made.deliver("b4", WITH_LINE_IDS)
    made.ingest()
    made.run("bin/dbt", "--quiet", "build", "--exclude-resource-type", "unit_test")
    return made


def test_a_later_file_supersedes_all_lines_of_a_key(shop: Shop) -> None:
    assert shop.day("2026-01-11", "units, gross_sales_usd") == (4, 32)


def test_a_line_id_tells_lines_apart_and_its_last_line_counts(shop: Shop) -> None:
    assert shop.day("2026-01-17", "units, gross_sales_usd") == (3, 32)
    overwritten = "select amount_usd, row_count from marts.money_reconciliation where step_name = 'overwritten'"
    assert shop.query(overwritten + " and feed = 'shop'") == [(-10, 1)]


def test_an_unmapped_status_is_no_sale_and_its_money_stays_visible(shop: Shop) -> None:
    assert shop.day("2026-01-13", "order_count, gross_sales_usd, net_sales_usd, unmapped_usd") == (0, 0, 0, 50)
    steps = "select amount_usd, row_count from marts.money_reconciliation where step_name = 'unmapped'"
    assert shop.query(steps) == [(-94, 2)]


def test_a_negative_price_is_an_adjustment(shop: Shop) -> None:
    columns = "units, gross_sales_usd, adjustments_usd, net_sales_usd, average_order_usd"
    assert shop.day("2026-01-14", columns) == (3, 30, Decimal("-11062.06"), Decimal("-11032.06"), 30)


def test_prices_below_the_cent_are_exact(shop: Shop) -> None:
    assert shop.day("2026-01-15", "units, net_sales_usd") == (4307, Decimal("538.375"))


def test_no_mistyped_year_moves_the_last_day_or_adds_days(shop: Shop) -> None:
    assert shop.first_days == [("2026-01-15", 15)]  # 0202-01-05, and the days from 2026-01-02 on
    assert shop.first_ahead == [("far",), ("later",)]
    assert shop.query("select max(sales_date)::text, count(*) from marts.fct_daily_sales") == [("2026-02-20", 51)]
    assert shop.query("select order_id from marts.fct_order_lines where is_dated_ahead") == [("far",)]
    as_of = "select distinct as_of_date::text from marts.customer_lifetime_value"
    assert shop.query(as_of) == [("2026-02-20",)]
    segments = "select customer_id, recency_days from marts.customer_lifetime_value order by 1"
    assert shop.query(segments) == [("c1", 0), ("c2", 36)]
    ahead = "select amount_usd, row_count from marts.money_reconciliation where step_name = 'dated_ahead'"
    assert shop.query(ahead) == [(-33, 1)]


def test_money_adds_up_and_warnings_say_what_is_odd(shop: Shop) -> None:
    differing = "select * from marts.money_reconciliation where difference_usd <> 0"
    assert shop.query(differing) == []
    assert shop.warnings() == {
        "values_are_plausible": 3,
        "order_lines_have_a_known_status": 2,
        "no_row_overwrites_another_of_its_batch": 1,
        "lines_are_not_replaced_by_fewer": 1,  # those of the order corrected
    }
    listed = "select column_name, kept_value from marts.implausible_values order by _row_id"
    assert shop.query(listed) == [
        ("unit_price", "-11062.0600"),
        ("quantity", "4300"),
        ("order_date", "2026-02-20"),
        ("order_date", "2062-03-01"),
        ("order_date", "0202-01-05"),
    ]


def test_only_the_same_line_of_a_later_file_heals_a_rejected_one(
    new_database: Callable[[], Database], tmp_path: Path
) -> None:
    shop = Shop(new_database(), tmp_path)
    lines = [
        "L1,with ids,c1,p1,2,50.00,,someday,placed", "L2,with ids,c1,p1,1,1.00,,2026-01-02,placed",
        ",returned,c1,p1,5,100.00,,someday,placed", ",again,c1,p1,3,30.00,,someday,placed",
        ",again,c1,p1,1,5.00,,2026-01-02,placed", ",unknown,c1,p1,two,5.00,,2026-01-02,placed",
    ]  # fmt: skip
    shop.deliver("batch_001", "\n".join([f"line_id,{HEADER}", *lines]) + "\n")
    lines = [
        "L2,with ids,c1,p1,1,1.00,,2026-01-02,placed", ",returned,c1,p1,-1,100.00,,2026-01-05,returned",
        ",again,c1,p1,3,30.00,,2026-01-02,placed", ",unknown,c1,p1,2,5.00,,2026-01-02,placed",
    ]  # fmt: skip
    shop.deliver("batch_002", "\n".join([f"line_id,{HEADER}", *lines]) + "\n")
    shop.run("bin/ingest", "--data-dir", tmp_path)
    shop.run(*DBT, "run", "--select", "+rejected_rows")
    assert shop.query("select line_number, state, healed_by_batch_id from marts.rejected_rows order by 1") == [
        (2, "open", None),  # only another line of the order came again
        (4, "open", None),  # a return is not the sale
        (5, "healed", 2),
        (7, "open", None),  # nobody knows whether the line was a sale or a return
    ]


def test_a_new_spelling_counts_its_lines_again_without_a_full_refresh(shop: Shop) -> None:
    """It comes last, because it changes the shop; it is also the comparison with a full refresh."""
    for prefix in ("", FULL):
        shop.run(*DBT, "seed", prefix=prefix)
        shop.query(f"insert into {prefix}staging.line_statuses values ('on_hold', 'Placed', 'sold')")
    models = ("--exclude-resource-type", "seed", "test", "unit_test")
    shop.run(*DBT, "build", *models)
    shop.run(*DBT, "build", *models, prefix=FULL)
    assert shop.day("2026-01-13", "order_count, net_sales_usd, unmapped_usd") == (1, 50, 0)
    assert differences(shop.database) == []


# -- A retail export, from the file to the daily sales -----------------------------------------------------------------

EXPORT_HEADER = ["Order ID", "Product ID", "Quantity", "Order Date", "Unit Price", "Customer ID", "Discount", "Status"]
FIRST_DAY = datetime(2025, 9, 1, tzinfo=timezone.utc)
TIME = "%Y-%m-%d %H:%M:%S"
STATUSES = {"Completed": 1, "Dispatched": 1, "Canceled": 0, "Refunded": 0}


def export_rows() -> list[list[str]]:
    """Draw the lines of a wholesaler's till: the same ones every time."""
    dice = random.Random(13)
    rows = []
    for number in range(536_000, 536_500):
        moment = FIRST_DAY + timedelta(days=dice.randrange(90), seconds=dice.randrange(9 * 3600, 18 * 3600))
        customer = "" if dice.random() < 0.25 else f"{dice.randrange(12000, 12060)}.0"
        status = dice.choices(list(STATUSES), [90, 4, 4, 2])[0]
        for _ in range(dice.randrange(1, 6)):
            quantity = dice.choice([1, 2, 6, 12, 24, 144, 1500, 4300])
            price = Decimal(dice.randrange(1, 40_000)) / dice.choice([100, 100, 100, 1000, 10000])
            product = f"{dice.randrange(20000, 20040)}{dice.choice(['', 'A', 'B'])}"
            rows.append([f"{number}", product, f"{quantity}", f"{moment:{TIME}}", f"{price}", customer, "", status])
        if dice.random() < 0.1:  # part of the order comes back on another day
            back = moment + timedelta(days=dice.randrange(1, 20))
            units = f"-{max(1, quantity // 2)}"
            rows.append([f"{number}", product, units, f"{back:{TIME}}", f"{price}", customer, "", "Completed"])
        if dice.random() < 0.1:  # the till prints a line twice
            rows.append(list(rows[-1]))
    rows.append(["A563187", "B", "1", "2025-10-12 14:51:00", "-11062.06", "", "", "Completed"])
    rows.append(["A563186", "B", "1", "2025-10-12 14:52:00", "-53594.36", "", "", "Completed"])
    rows.append(["560001", "20001", "3", "2052-10-12 10:00:00", "250.00", "12000.0", "", "Completed"])
    return rows


def net_sales_by_day(rows: Iterable[list[str]]) -> dict[date, Decimal]:
    """Return quantity times price of the lines that count, by day, in plain arithmetic. A line is printed once."""
    sums: dict[date, Decimal] = defaultdict(Decimal)
    for _, _, quantity, moment, price, _, _, status in {tuple(row): row for row in rows}.values():
        if STATUSES[status] and moment < "2050":
            sums[date.fromisoformat(moment[:10])] += int(quantity) * Decimal(price)
    return sums


def test_a_retail_export_sums_to_the_cent(new_database: Callable[[], Database], tmp_path: Path) -> None:
    shop, rows = Shop(new_database(), tmp_path), export_rows()
    path = tmp_path / "initial" / "shop" / "orders.csv"
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([EXPORT_HEADER, *rows])
    shop.ingest()
    said = shop.run("bin/dbt", "--bar", "build", "--exclude-resource-type", "unit_test")

    expected = net_sales_by_day(rows)
    actual = dict(shop.query("select sales_date, net_sales_usd from marts.fct_daily_sales"))
    assert {day: net for day, net in actual.items() if net} == {day: net for day, net in expected.items() if net}
    assert sum(actual.values()).quantize(Decimal("0.01"), ROUND_HALF_UP) == sum(expected.values()).quantize(
        Decimal("0.01"), ROUND_HALF_UP
    )
    assert len(actual) == (max(expected) - min(expected)).days + 1
    assert shop.query("select count(*) from marts.rejected_rows") == [(0,)]
    assert said.endswith(" passed, 1 with warnings\n"), said
    assert shop.warnings() == {"values_are_plausible": 3}  # quantities, adjustments, and the mistyped year
    differing = "select * from marts.money_reconciliation where difference_usd <> 0"
    assert shop.query(differing) == []
