"""The sample data of kulisse: it has every mess that it claims to have, in the formats of a European spreadsheet."""

from __future__ import annotations

import contextlib
import re
from datetime import datetime, timezone
from decimal import Decimal

import pytest

from sample_files import DATA, EMAIL, Deliveries, Rules, contents, is_time, label, read_feed

pytestmark = pytest.mark.fast

AMOUNT = re.compile(r"(?:[€£] ?|kr )?((?:\d+|\d{1,3}(?:\.\d{3})+)(?:,\d{1,2})?)(?: ?[€£]| kr)?")
CURRENCIES = {"€": "EUR", "£": "GBP", "k": "DKK"}


def amount(text: str) -> Decimal:
    """The number of an amount, without its sign."""
    return Decimal(AMOUNT.fullmatch(text)[1].replace(".", "").replace(",", "."))


def is_amount(text: str, currency: str = "") -> bool:
    signs = {CURRENCIES[sign] for sign in re.findall("[€£k]", text)}
    return bool(AMOUNT.fullmatch(text)) and signs <= {currency}


def is_local_time(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(datetime.strptime(text, "%d.%m.%Y %H:%M").replace(tzinfo=timezone.utc)) and len(text) == 16
    return False


def is_sound(name: str, values: dict[str, str]) -> bool:
    text = values[name]
    if name in ("total_amount", "refunded_amount"):
        total = values["total_amount"]
        is_read = is_amount(text, values["currency"]) and bool(re.fullmatch("[A-Z]{3}", values["currency"]))
        return is_read and (name == "total_amount" or amount(text) <= amount(total))
    checks = {
        "amount": is_amount,
        "currency": lambda text: bool(re.fullmatch("[A-Z]{3}", text)),
        "quantity": lambda text: text.isdecimal() and int(text) > 0,
        "capacity": str.isdecimal,
        "registered_at": is_local_time,
        "ordered_at": is_local_time,
        "starts_at": lambda text: is_local_time(text) and bool(
            re.fullmatch(r"[+-]?\d{1,3}|[+-]\d\d:\d\d", values["utc_offset_minutes"])
        ),
        "started_at": is_time,
        "email": lambda text: bool(EMAIL.fullmatch(text)),
        "country": lambda text: len(label(text)) == 2,
        "status": lambda text: label(text) != "",
        "item_type": lambda text: label(text) != "",
        "genre": lambda text: label(text) != "",
    }  # fmt: skip
    return name not in checks or checks[name](text)


RULES = Rules(
    "kulisse",
    {
        "customers": {"customer_id"},
        "venues": {"venue_id"},
        "events": {"event_id"},
        "performances": {"performance_id", "event_id", "starts_at"},
        "orders": {"order_id", "ordered_at", "currency", "total_amount", "status"},
        "order_items": {"item_id", "order_id", "item_type", "quantity", "amount"},
        "sessions": {"session_id", "started_at"},
    },
    is_sound,
    {},
)


@pytest.fixture(scope="module")
def committed() -> Deliveries:
    """The committed data of the feed."""
    return read_feed(DATA, "kulisse")


def test_every_kind_of_rejection_is_planted_and_nothing_else_is_rejected(committed: Deliveries) -> None:
    kinds = {"value email", "value country", "value registered_at", "value capacity", "value refunded_amount"}
    kinds |= RULES.required_kinds() - {"row currency"} | {"row currency, total_amount"}
    RULES.check_planted(committed, lines=2, kinds=kinds)


def test_files_are_those_of_a_european_spreadsheet() -> None:
    files = contents(DATA, "kulisse")
    assert {path.partition(".")[2] for path in files} == {"csv", "json", "jsonl", "jsonl.gz"}
    assert "Köln".encode("windows-1252") in files["initial/kulisse/venues.csv"]
    assert b"\nb_0002;k_002;03.12.2025 09:00;EUR;1.234,50;0;paid\n" in files["initial/kulisse/orders.csv"]
    assert files["incremental/kulisse/customers/batch_002.csv"].startswith(b"registered_at;customer_id;")
    assert files["incremental/kulisse/orders/batch_001.csv"].count(b"\r\n") > 20
    assert sum(map(len, files.values())) < 100_000


def test_rows_are_spoiled_above_scale_1(tmp_path) -> None:
    RULES.check_spoiled(tmp_path, "order_items", ["row quantity", "row amount", "row item_id"], scale="120")


def test_orders_have_the_amount_of_their_items_but_for_the_planted_ones(committed: Deliveries) -> None:
    orders = {row["order_id"]: row for row in RULES.sound_rows(committed, "orders")}
    items: dict[str, Decimal] = {}
    for row in {row["item_id"]: row for row in RULES.sound_rows(committed, "order_items")}.values():
        items[row["order_id"]] = items.get(row["order_id"], Decimal(0)) + amount(row["amount"])
    differing = {order for order, row in orders.items() if amount(row["total_amount"]) != items.get(order)}
    assert differing == {"b_0012", "b_0105"}
    assert items.keys() - orders.keys() == {"b_0000"}
    assert {row["currency"] for row in orders.values()} == {"EUR", "GBP", "DKK", "CHF"}
    assert {label(row["status"]) for order, row in orders.items() if order > "b_1000"} == {
        "paid", "refunded", "partial_refund", "cancelled",
    }  # fmt: skip


def test_some_customers_have_the_address_of_an_account_of_the_other_company(committed: Deliveries) -> None:
    accounts = {row["email"].strip().lower() for _, row in read_feed(DATA, "tickets")["accounts", "initial"] if row}
    customers = {row["email"].lower() for row in RULES.sound_rows(committed, "customers")} - {"", "n/a", "-"}
    assert len(customers & accounts) > 6
    assert len(customers - accounts) > 60
