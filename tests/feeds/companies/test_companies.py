"""Sales and customers of two companies: added up again in Python; and what late rows, rates and decisions change."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from conftest import DBT, NO_LIMITS, ROOT, Database
from copies import FULL, apart, differences
from feeds.kulisse.test_sample_files import RULES, amount
from sample_files import DATA, label, read_feed

pytestmark = pytest.mark.feeds("tickets", "kulisse")
SELECTED = ("--select", "+group:companies", "tag:ledger", "--exclude-resource-type", "test", "unit_test")
COUNTS_AS = {"paid": "sold", "partial_refund": "partly", "refunded": "refunded", "cancelled": "cancelled"}


def build(database: Database, *options: str, **variables: str) -> None:
    done = database.run(*DBT, "build", *NO_LIMITS, *options, env=variables)
    assert done.returncode == 0, done.stdout + done.stderr


def deliver(database: Database, data: Path) -> None:
    done = database.run("bin/ingest", "--data-dir", str(data))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Database:
    """Both companies, built and tested."""
    database = new_database()
    done = database.run("bin/ingest", "tickets", "kulisse")
    assert done.returncode == 0, done.stderr
    build(database, "--select", "+group:companies", "tag:ledger")
    return database


def rate(currency: str, day: date) -> Decimal | None:
    """The rate that holds on a day, as the seed has it."""
    with (ROOT / "dbt/seeds/currency/fx_rates.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["currency"] == currency]
    held = [row for row in rows if date.fromisoformat(row["holds_from"]) <= day]
    newest = max(held, key=lambda row: row["holds_from"], default=None)
    return Decimal(newest["usd_per_unit"]) if newest and day < date.fromisoformat(newest["expires_on"]) else None


def test_sales_are_those_of_the_files(warehouse: Database) -> None:
    """Each order of kulisse is worth what it paid less what it got back, in its own currency and in dollars."""
    deliveries = read_feed(DATA, "kulisse")
    orders = {row["order_id"]: row for row in RULES.sound_rows(deliveries, "orders")}
    own, dollars, unconverted = defaultdict(Decimal), Decimal(0), defaultdict(Decimal)
    for row in orders.values():
        meaning = COUNTS_AS.get(label(row["status"]))
        if meaning not in ("sold", "partly", "refunded"):
            continue
        total, refunded = amount(row["total_amount"]), row["refunded_amount"]
        is_refund_read = refunded and RULES.is_sound("refunded_amount", row)
        back = total if meaning == "refunded" else amount(refunded) if is_refund_read else Decimal(0)
        if meaning == "partly" and not back:
            continue  # nobody knows how much of it was sold
        berlin = datetime.strptime(row["ordered_at"], "%d.%m.%Y %H:%M")  # noqa: DTZ007  # an hour ahead in winter
        per_unit = rate(row["currency"], (berlin - timedelta(hours=1)).date())
        own[row["currency"]] += total - back
        if per_unit is None:
            unconverted[row["currency"]] += total - back
        else:
            dollars += (total - back) * per_unit
    assert len(own) == 4
    sums = (
        "select currency, sum(amount) from marts.fct_sales where company = 'kulisse' group by 1 having sum(amount) <> 0"
    )
    assert dict(warehouse.query(sums)) == own
    ((found, left_over),) = warehouse.query(
        "select sum(amount_usd), sum(unconverted_amount) from marts.fct_sales where company = 'kulisse'"
    )
    assert found == dollars > 10_000
    assert left_over == unconverted["CHF"] == 80

    paid = sum(order["total"] for order in tickets_orders(warehouse))
    ((of_tickets,),) = warehouse.query(
        "select sum(amount_usd) from marts.fct_sales where company = 'tickets' and line_type = 'order'"
    )
    assert of_tickets == paid > 100_000


def tickets_orders(warehouse: Database) -> list[dict[str, Decimal]]:
    """The current orders of tickets, from the text of the raw rows that staging holds."""
    rows = warehouse.query(
        "select trim(raw.order_id), raw.total_amount from raw.tickets__orders as raw"
        " inner join staging.stg_tickets__orders as staged using (_row_id) order by _row_id"
    )
    current = dict(rows)
    return [{"total": Decimal(text.strip().lstrip("+").replace("$", "").replace(",", ""))} for text in current.values()]


def test_no_grain_counts_anything_twice(warehouse: Database) -> None:
    """The same sum by line, by order, by customer, by person, and by the join that people write first."""
    by = {
        "line": "select sum(amount_usd), count(*) from marts.fct_sales",
        "order": "select sum(usd), sum(lines) from ("
        "select sum(amount_usd) as usd, count(*) as lines from marts.fct_sales group by company, order_id) as orders",
        "person": "select sum(sales.amount_usd), count(*) from marts.dim_customer_unified as persons"
        " join marts.dim_company_customer as customers using (unified_customer_id)"
        " join marts.fct_sales as sales using (company, customer_id)",
    }
    assert len({warehouse.query(query)[0] for query in by.values()}) == 1
    ((items, lines),) = warehouse.query(
        "select (select count(*) from intermediate.int_kulisse__order_items),"
        " (select count(*) from marts.fct_sales where line_type = 'item')"
    )
    assert items == lines > 200


def test_links_are_what_the_sample_tells(warehouse: Database) -> None:
    links = warehouse.query(
        "select tickets_account_id, kulisse_customer_id, link_state, link_reason from marts.customer_links"
        " where kulisse_customer_id < 'k_100' order by 2"
    )
    assert links == [
        ("a_0001", "k_001", "confirmed", "same_email"),
        ("a_0002", "k_002", "proposed", "several_holders"),
        ("a_0002", "k_003", "proposed", "several_holders"),
        ("a_0005", "k_004", "refused", "forbidden"),
        ("a_0006", "k_005", "confirmed", "decided"),
        ("a_0008", "k_006", "proposed", "other_tag"),
    ]
    both = "select tickets_account_id, kulisse_customer_id from marts.dim_customer_unified where company_count = 2"
    confirmed = (
        "select tickets_account_id, kulisse_customer_id from marts.customer_links where link_state = 'confirmed'"
    )
    assert sorted(warehouse.query(both)) == sorted(warehouse.query(confirmed))
    ((persons, customers, joined),) = warehouse.query(
        "select (select count(*) from marts.dim_customer_unified), (select count(*) from marts.dim_company_customer),"
        f" (select count(*) from ({confirmed}) as links)"
    )
    assert persons == customers - joined


def test_late_rows_rates_and_decisions_end_as_a_full_refresh(warehouse: Database, tmp_path: Path) -> None:
    """An item moves and leaves its order empty, a status changes, a rate comes, a link is withdrawn."""
    header = "item_id;order_id;performance_id;item_type;quantity;amount\n"
    orders = "order_id;customer_id;ordered_at;currency;total_amount;refunded_amount;status\n"
    transactions = "transaction_id,order_id,amount,occurred_at\n"
    folder = tmp_path / "incremental" / "kulisse"
    for name, text in {
        "order_items/late.csv": f"{header}i_0016;b_0012;f_002;ticket;1;33,00\ni_0014;b_0014;f_002;ticket;1;50,00\n",
        "orders/late.csv": f"{orders}b_0012;k_005;05.12.2025 09:00;EUR;98,00;;paid\n"
        "b_0001;;02.12.2025 20:15;GBP;95,00;;Refunded\n"
        "b_0003;k_002;03.12.2025 09:05;EUR;95,00;;partial refund\n",
        "../tickets/transactions/late.csv": f"{transactions}t_x1,o_nix,-7.00,2026-02-01\nt_x2,o_nix,-8.00,2026-02-01\n",
        "../tickets/transactions/later.csv": f"{transactions}t_x1,o_00001,-7.00,2026-02-01\n",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    deliver(warehouse, tmp_path)
    build(warehouse, *SELECTED)
    gone = "select count(*) from marts.fct_sales where order_id = 'b_0000' or line_type = 'none'"
    assert warehouse.query(gone) == [(0,)]
    lines = "select line_id, amount from marts.fct_sales where order_id = %s order by 1"
    assert warehouse.query(lines, ["b_0012"]) == [("i_0013", 65), ("i_0016", 33)]
    assert warehouse.query(lines, ["b_0013"]) == [("remainder", 50)]
    assert warehouse.query(lines, ["b_0001"]) == [("i_0001", 90), ("i_0002", 5), ("refund", -95)]

    assert warehouse.query(
        "select sum(amount), sum(uncounted_amount) from marts.fct_sales where order_id = 'b_0003'"
    ) == [(0, 95)]
    assert warehouse.query(lines, ["o_nix"]) == [("t_x2", 0)]
    assert ("t_x1", -7) in warehouse.query(lines, ["o_00001"])

    warehouse.query(
        "insert into staging.fx_rates values ('CHF', '2025-12-01', '2026-12-31', 1.25, 'test');"
        "insert into staging.order_statuses values ('auf_eis', 'sold');"
        "insert into staging.customer_link_decisions values ('a_0001', 'k_001', 'forbid', 'test')"
    )
    without_seeds = (*SELECTED[:-2], "seed", *SELECTED[-2:])
    build(warehouse, *without_seeds)
    francs = "select amount_usd, unconverted_amount from marts.fct_sales where currency = 'CHF'"
    assert warehouse.query(francs) == [(100, 0)]
    assert warehouse.query(lines, ["b_0010"]) == [("i_0011", 60)]
    ((persons,),) = warehouse.query(
        "select count(*) from marts.dim_customer_unified where 'k_001' = kulisse_customer_id and company_count = 1"
    )
    assert persons == 1

    copy = apart(tmp_path)
    done = warehouse.run(*DBT, "seed", env=copy)
    assert done.returncode == 0, done.stdout
    for seed in ("fx_rates", "order_statuses", "customer_link_decisions"):
        warehouse.query(f"truncate {FULL}staging.{seed}; insert into {FULL}staging.{seed} select * from staging.{seed}")
    build(warehouse, *without_seeds, **copy)
    assert [each for each in differences(warehouse) if "ledger" not in each[0]] == []
