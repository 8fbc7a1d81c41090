"""The feed kulisse: a second theatre company, which plays in three countries and keeps its books in their currencies.

Its files are those of a European spreadsheet: semicolons, windows-1252, 31.12.2025, 1.234,50. Times of orders are those
of Berlin, times of performances those of the place, with the offset beside them.

Who is who: customers up to `k_100`, performances up to `f_100` and orders up to `b_1000` are planted, regular rows
count from there on, and number zero never arrives. Some customers have an account at the other company, too: one in
nine of the first regular ones has the address that the generator of the feed tickets gives to an account.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import NamedTuple

from sample_data import tickets
from sample_data.chance import ODD_SPELLINGS, Dice, dice_for, pick
from sample_data.feed import Dialect, Feed
from sample_data.weeks import FIRST_DAY, FIRST_NUMBER, WEEKS, known_until, numbers_of, under_earlier_key

# ----------------------------------------------------------------------------------------------------------------------
# What is written by hand
# ----------------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "customers": ("customer_id", "email", "full_name", "country", "registered_at"),
    "venues": ("venue_id", "venue_name", "city", "country", "capacity"),
    "events": ("event_id", "title", "genre"),
    "performances": ("performance_id", "event_id", "venue_id", "starts_at", "utc_offset_minutes"),
    "orders": ("order_id", "customer_id", "ordered_at", "currency", "total_amount", "refunded_amount", "status"),
    "order_items": ("item_id", "order_id", "performance_id", "item_type", "quantity", "amount"),
    "sessions": ("session_id", "customer_id", "started_at", "landing_page", "order_id"),
}

SPREADSHEET = Dialect(";", "windows-1252")
DIALECTS = dict.fromkeys(("customers", "venues", "performances", "orders", "order_items"), SPREADSHEET)

FILES = (
    # entity, batch, extension, quirk
    ("customers", "initial", ".csv", ""),
    ("venues", "initial", ".csv", ""),
    ("events", "initial", ".json", ""),
    ("performances", "initial", ".csv", ""),
    ("orders", "initial", ".csv", ""),
    ("order_items", "initial", ".csv", ""),
    ("sessions", "initial", ".jsonl", ""),
    ("customers", "batch_001", ".csv", "crlf"),
    ("performances", "batch_001", ".csv", ""),
    ("orders", "batch_001", ".csv", "crlf"),
    ("order_items", "batch_001", ".csv", "crlf"),
    ("sessions", "batch_001", ".jsonl", ""),
    ("customers", "batch_002", ".csv", "reordered"),
    ("orders", "batch_002", ".csv", ""),
    ("order_items", "batch_002", ".csv", ""),
    ("sessions", "batch_002", ".jsonl.gz", ""),
    ("orders", "batch_003", ".csv", ""),
    ("order_items", "batch_003", ".csv", ""),
    ("sessions", "batch_003", ".jsonl", ""),
)
REORDERED_CUSTOMERS = ("registered_at", "customer_id", "country", "full_name", "email")


class Venue(NamedTuple):
    venue_id: str
    name: str
    city: str
    country: str
    capacity: str
    currency: str
    utc_offset_minutes: str  # in winter, in which the ten weeks are


VENUES = (
    Venue("h_101", "Kammerspiele am Kanal", "Köln", "DE", "420", "EUR", "60"),
    Venue("h_102", "Kleines Haus", "München", "DE", "180", "EUR", "60"),
    Venue("h_103", "The Boiler Room", "Leeds", "GB", "260", "GBP", "0"),
    Venue("h_104", "Havnescenen", "Århus", "DK", "300", "DKK", "60"),
)
EVENTS = (
    ("v_101", "Der zerbrochne Krug", "comedy"),
    ("v_102", "Woyzeck", "drama"),
    ("v_103", "Peer Gynt", "drama"),
    ("v_104", "Frøken Julie", "drama"),
    ("v_105", "An Inspector Calls", "thriller"),
    ("v_106", "Käfer & Co.", "children"),
)

# The planted rows. One line each: entity, batch, |the values in the order of COLUMNS|, and why it is there.
# feed.py explains the [brackets].
PLANTED = """
# One person, customer of both companies: the address is the same, and nobody else has it
customers    initial   |k_001|MARA.LIND@example.org|Mara Lind|DE|01.03.2025 10:00|  a_0001 of tickets
orders       initial   |b_0001|k_001|02.12.2025 20:15|EUR|95,00|0,00|paid|  at 1.1688 USD
order_items  initial   |i_0001|b_0001|f_001|ticket|2|90,00|
order_items  initial   |i_0002|b_0001|f_001|fee|1|5,00|

# The same address twice at this company, so nobody knows which of the two has the account
customers    initial   |k_002|tom.berg@example.org|Tom Berg|DE|02.03.2025 10:00|
customers    initial   |k_003|tom.berg@example.org|T. Berg|DE|03.03.2025 10:00|

# Mother and daughter share an address: a decision keeps them apart
customers    initial   |k_004|ines@example.org|Inês Vos|DE|04.03.2025 10:00|  a_0005 of tickets, refused

# Two addresses, one person: a decision joins them
customers    initial   |k_005|otto@kontor.example|Otto Falk|AT|05.03.2025 10:00|  a_0006 of tickets, confirmed

# Addresses that differ in a tag only are proposed
customers    initial   |k_006|ole+kulisse@example.org|Ole Jung|DK|06.03.2025 10:00|  a_0008 of tickets

# Amounts as the countries write them
orders       initial   |b_0002|k_002|03.12.2025 09:00|EUR|1.234,50|0|paid|  a point between thousands
orders       initial   |b_0003|k_002|03.12.2025 09:05|EUR|95,00 €||Paid|  the sign at the end; no refund
orders       initial   |b_0004|k_003|03.12.2025 09:10|GBP|£120,00|0,00|PAID|  the sign in front
orders       initial   |b_0005|k_003|03.12.2025 09:15|DKK|1.120,00 kr|0,00|paid |  a sign that the source declares
orders       initial   |b_0006|k_003|03.12.2025 09:20|CHF|80,00|0,00|paid|  no rate for francs: unconverted
order_items  initial   |i_0003|b_0002|f_001|ticket|30|1.234,50|
order_items  initial   |i_0004|b_0003|f_001|ticket|2|95,00|
order_items  initial   |i_0005|b_0004|f_003|ticket|3|120,00|
order_items  initial   |i_0006|b_0005|f_004|ticket|4|1.120,00|
order_items  initial   |i_0007|b_0006|f_001|ticket|2|80,00|

# Refunds, in whole and in part, and what never was a sale
orders       initial   |b_0007|k_004|04.12.2025 09:00|EUR|60,00||refunded|  all of it
orders       initial   |b_0008|k_004|04.12.2025 09:05|EUR|60,00|20,00|Partial refund|  40.00 stay
orders       initial   |b_0009|k_004|04.12.2025 09:10|EUR|60,00||CANCELLED|  counts nowhere
orders       initial   |b_0010|k_004|04.12.2025 09:15|EUR|60,00||auf Eis|  no one has mapped that: counts nowhere
orders       initial   |b_0011|k_004|04.12.2025 09:20|EUR|60,00||paid|
orders       batch_001 |b_0011|k_004|04.12.2025 09:20|EUR|60,00||Refunded|  is refunded later
order_items  initial   |i_0008|b_0007|f_001|ticket|1|60,00|
order_items  initial   |i_0009|b_0008|f_001|ticket|3|60,00|
order_items  initial   |i_0010|b_0009|f_001|ticket|1|60,00|
order_items  initial   |i_0011|b_0010|f_001|ticket|1|60,00|
order_items  initial   |i_0012|b_0011|f_001|ticket|1|60,00|

# Orders and their items don't always agree, or come together
orders       initial   |b_0012|k_005|05.12.2025 09:00|EUR|70,00||paid|  its items make 65.00: 5.00 are for none of them
order_items  initial   |i_0013|b_0012|f_002|ticket|2|65,00|
orders       initial   |b_0013|k_005|18.01.2026 23:30|EUR|50,00||paid|  its items come in batch_001
order_items  batch_001 |i_0014|b_0013|f_002|ticket|1|50,00|
order_items  initial   |i_0015|b_0014|f_002|ticket|1|45,00|  its order comes in batch_001
orders       batch_001 |b_0014|k_005|19.01.2026 00:30|EUR|45,00||paid|
order_items  initial   |i_0016|b_0000|f_002|ticket|1|33,00|  its order never arrives

# Performances: local times, with the offset beside them
venues       initial   |h_001|Theater am Ring|Köln|DE|500|
events       initial   |v_001|Dinner für Spinner|comedy|
performances initial   |f_001|v_001|h_001|14.12.2025 19:30|60|  18:30 UTC
performances initial   |f_002|v_001|h_001|29.03.2026 19:30|+02:00|  17:30 UTC, in summer
performances initial   |f_003|v_001|h_103|15.12.2025 00:30|0|
performances initial   |f_004|v_001|h_104|16.12.2025 19:30|60|
performances initial   |f_005|v_001|h_001|17.12.2025 19:30|soon|  [row starts_at] no offset, so no time
performances initial   |f_006|v_000|h_000|18.12.2025 19:30|60|  event and venue never arrive
performances batch_001 |f_005|v_001|h_001|17.12.2025 19:30|60|  repaired

# Sentinels: N/A, NULL, None, null, - and empty are null
customers    initial   |k_007|N/A|NULL|None|null|  only a key
customers    batch_001 |k_008|-|||N/A|  only a key
sessions     initial   |x_0001|null|2025-12-02T18:00:00Z|-||  a visitor

# Sessions, of which some lead to an order
sessions     initial   |x_0002|k_001|2025-12-02T19:05:00Z|/spielplan|b_0001|
sessions     initial   |x_0003|k_001|2025-12-09T19:05:00Z|/spielplan||

# Rejected: in a required column, all of the row; elsewhere, the value
customers    initial   ||nobody@example.org|Nobody|DE|07.03.2025 10:00|  [row customer_id] empty
customers    initial   |k_009|nobody at example|Eva Noll|DE|08.03.2025 10:00|  [value email] no address
customers    initial   |k_010|eva@example.org|Eva Noll|Germany|09.03.2025 10:00|  [value country] not two letters
customers    initial   |k_011|max@example.org|Max Ode|DE|2025-03-10 10:00|  [value registered_at] another spelling
venues       initial   ||Nowhere|Köln|DE|10|  [row venue_id] empty
venues       initial   |h_002|Zelt|Bonn|DE|many|  [value capacity] a word
events       initial   ||Untitled|drama|  [row event_id] empty
performances initial   ||v_001|h_001|19.12.2025 19:30|60|  [row performance_id] empty
performances initial   |f_007||h_001|19.12.2025 19:30|60|  [row event_id] empty
performances initial   |f_008|v_001|h_001|19.12.2025 24:30|60|  [row starts_at] no such hour
orders       initial   ||k_001|06.12.2025 09:00|EUR|10,00||paid|  [row order_id] empty
orders       initial   |b_0101|k_001|31.02.2026 09:00|EUR|10,00||paid|  [row ordered_at] no such day
orders       initial   |b_0102|k_001|06.12.2025 09:00|Taler|10,00||paid|  [row currency, total_amount] not a code
orders       initial   |b_0103|k_001|06.12.2025 09:00|EUR|$10,00||paid|  [row total_amount] dollars, not euros
orders       initial   |b_0104|k_001|06.12.2025 09:00|EUR|10.50||paid|  [row total_amount] a decimal point
orders       initial   |b_0105|k_001|06.12.2025 09:00|EUR|10,00|12,00|partial refund|  [value refunded_amount] too much
orders       initial   |b_0106|k_001|06.12.2025 09:00|EUR|10,00||?|  [row status] only punctuation
order_items  initial   ||b_0001|f_001|ticket|1|10,00|  [row item_id] empty
order_items  initial   |i_0101||f_001|ticket|1|10,00|  [row order_id] empty
order_items  initial   |i_0102|b_0101|f_001|ticket|one|10,00|  [row quantity] a word
order_items  initial   |i_0103|b_0101|f_001|ticket|1|zehn|  [row amount] a word
order_items  initial   |i_0104|b_0101|f_001||1|10,00|  [row item_type] empty
sessions     initial   ||k_001|2025-12-02T19:05:00Z|/||  [row session_id] empty
sessions     initial   |x_0004|k_001|gestern|/||  [row started_at] a word

# Lines that can't be rows
orders       batch_001 |b_0201;k_001;20.01.2026 09:00|  [line] four values short
sessions     batch_001 |{"session_id": "x_00|  [line] JSON cut off in the middle
"""

# How regular rows are spoiled above scale 1: (column, what stands in it). Duplicates and corrections come on top.
SPOILED = {
    "customers": (
        ("customer_id", ""), ("email", "nobody@"), ("country", "Germany"), ("registered_at", "30.02.2025 10:00"),
    ),
    "orders": (
        ("order_id", ""), ("ordered_at", "30.02.2026 10:00"), ("currency", "Taler"), ("total_amount", "1,2,3"),
        ("refunded_amount", "viel"), ("status", "?!"), ("customer_id", "k_000"),
    ),
    "order_items": (("item_id", ""), ("quantity", "two"), ("amount", "12.345,678"), ("order_id", "b_0000")),
}  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------------
# Regular rows, by rule
# ----------------------------------------------------------------------------------------------------------------------

FIRST_ORDER = 1001  # of regular rows; numbers below are planted

# How much there is at scale 1. Customers, orders and sessions grow with the scale; performances and weeks don't.
ORDERS_BY_WEEK = (14, 18, 24, 12, 8, 14, 16, 16, 18, 20)
CUSTOMERS_BY_BATCH = {"initial": 70, "batch_001": 10, "batch_002": 10}
PERFORMANCES_BY_BATCH = {"initial": 28, "batch_001": 12}
SHARED_EVERY = 9  # one in so many of the first regular customers has an account of the other company
PRICES = {"EUR": (1800, 2400, 3200, 4500), "GBP": (1500, 2200, 2800), "DKK": (14500, 22000, 29500)}  # in minor units

GIVEN_NAMES = (
    "Anke Bjørn Carla Dörte Emil Frauke Gitte Hugh Imke Jürgen Käthe Lars Moira Niels Olaf Petra Rosa Søren Till Ute"
)
FAMILY_NAMES = (
    "Ahlers Brandt Clausen Dahl Ebert Faßbender Groß Hjort Iversen Jansen Krüger Lorenz Møller Nolte Ohl Petersen"
)
PAGES = ("/", "/spielplan", "/spielplan", "/karten", "/gutscheine", "")


def ascii_of(name: str) -> str:
    """Return a name as an address has it."""
    for letter, letters in {"ö": "oe", "ü": "ue", "ä": "ae", "ß": "ss", "ø": "oe"}.items():
        name = name.replace(letter, letters)
    return name.lower()


def customer_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    dice = dice_for("kulisse", seed, "customers", batch)
    given_names, family_names = GIVEN_NAMES.split(), FAMILY_NAMES.split()
    accounts = tickets.account_rows(batch, scale, seed) if batch == "initial" else iter(())
    for number in numbers_of(CUSTOMERS_BY_BATCH, batch, scale):
        given, family = pick(given_names, dice), pick(family_names, dice)
        email = f"{ascii_of(given)}.{ascii_of(family)}{number}@kulisse.example"
        if batch == "initial" and number % SHARED_EVERY == 0:
            email = next(accounts)[1] or email
        if dice() < 0.05:
            email = pick((email.upper(), f" {email} "), dice)
        country = pick(("DE", "DE", "DE", "GB", "DK", "AT", "de"), dice)
        days_ago = 1 + int(dice() * (400 if batch == "initial" else 4))
        day = FIRST_DAY + datetime.timedelta(days=7 * WEEKS[batch][0] - days_ago)
        yield f"k_{number:03d}", email, f"{given} {family}", country, f"{day:%d.%m.%Y} {clock(dice)}"


def clock(dice: Dice) -> str:
    """A time of the day at which people are awake."""
    return f"{8 + int(dice() * 14):02d}:{minute(dice)}"


def minute(dice: Dice) -> str:
    """A minute of an hour."""
    return f"{int(dice() * 60):02d}"


def venue_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    for venue in VENUES:
        yield venue[:5]


def event_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    yield from EVENTS


def performance_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    for number in numbers_of(PERFORMANCES_BY_BATCH, batch, 1):
        venue = venue_of(number)
        day = FIRST_DAY + datetime.timedelta(days=14 + 2 * (number - FIRST_NUMBER))
        event_id = EVENTS[5 * number % len(EVENTS)][0]
        yield f"f_{number:03d}", event_id, venue.venue_id, f"{day:%d.%m.%Y} 19:30", venue.utc_offset_minutes


def venue_of(performance: int) -> Venue:
    """Where a performance is."""
    return VENUES[3 * performance % len(VENUES)]


class Order(NamedTuple):
    """A regular order: the same in each batch that has something to tell of it."""

    order_id: str
    customer_id: str
    ordered_at: str
    performance: int
    seats: tuple  # (number, price in minor units) of each item with tickets
    fee: int
    settled: str  # its status once a batch has passed
    refunded: int


def orders_of(week: int, scale: int, seed: int) -> Iterator[Order]:
    """The orders of a week."""
    batch = next(batch for batch, weeks in WEEKS.items() if week in weeks)
    known = known_until(PERFORMANCES_BY_BATCH, batch)
    first, count = FIRST_ORDER + sum(ORDERS_BY_WEEK[:week]) * scale, ORDERS_BY_WEEK[week] * scale
    for number in range(first, first + count):
        dice = dice_for("kulisse", seed, "order", number)
        customer = FIRST_NUMBER + int(dice() * known_until(CUSTOMERS_BY_BATCH, batch) * scale)
        performance = FIRST_NUMBER + int(dice() * known)
        prices = PRICES[venue_of(performance).currency]
        seats = tuple((1 + int(dice() * 3), pick(prices, dice)) for _ in range(1 + int(dice() * 1.4)))
        fee = pick((0, 0, prices[0] // 10), dice)
        day = FIRST_DAY + datetime.timedelta(days=7 * week + (number - first) * 7 // count)
        settled = pick(("paid",) * 17 + ("refunded", "partial_refund", "cancelled"), dice)
        refunded = seats[0][1] if settled == "partial_refund" else 0
        order_id, ordered_at = f"b_{number:04d}", f"{day:%d.%m.%Y} {clock(dice)}"
        yield Order(order_id, f"k_{customer:03d}", ordered_at, performance, seats, fee, settled, refunded)


def order_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """The orders of a batch's weeks, all paid, and those of the week before that have another status by now."""
    dice = dice_for("kulisse", seed, "orders", batch)
    weeks = WEEKS[batch]
    for week in weeks:
        for order in orders_of(week, scale, seed):
            if week == weeks[-1]:
                yield order_row(order._replace(settled="paid", refunded=0), dice)
            else:
                yield order_row(order, dice)
    if weeks[0]:
        for order in orders_of(weeks[0] - 1, scale, seed):
            if order.settled != "paid":
                yield order_row(order, dice)


def order_row(order: Order, dice: Dice) -> tuple:
    currency = venue_of(order.performance).currency
    total = sum(number * price for number, price in order.seats) + order.fee
    refunded = spelled(order.refunded, dice, currency) if order.refunded else pick(("", "0,00"), dice)
    status = pick((order.settled,) * 8 + (order.settled.upper(), order.settled.replace("_", " ").title()), dice)
    return (
        order.order_id,
        order.customer_id,
        order.ordered_at,
        currency,
        spelled(total, dice, currency),
        refunded,
        status,
    )


def spelled(minor: int, dice: Dice, currency: str = "") -> str:
    """An amount as a European spreadsheet has it; with a currency, its sign may be there, too."""
    plain, grouped = f"{minor // 100},{minor % 100:02d}", f"{minor // 100:,}".replace(",", ".") + f",{minor % 100:02d}"
    if dice() >= 2 * ODD_SPELLINGS:
        return plain
    signs = {
        "": (),
        "EUR": (f"{grouped} €", f"€{plain}"),
        "GBP": (f"£{grouped}",),
        "DKK": (f"{grouped} kr", f"kr {plain}"),
    }
    return pick((grouped, f" {plain} ", *signs[currency]), dice)


def item_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """The items of the orders that are new."""
    dice = dice_for("kulisse", seed, "order_items", batch)
    for week in WEEKS[batch]:
        for order in orders_of(week, scale, seed):
            number = order.order_id[2:]
            for place, (seats, price) in enumerate(order.seats, 1):
                amount = spelled(seats * price, dice)
                yield f"i_{number}_{place}", order.order_id, f"f_{order.performance}", "ticket", str(seats), amount
            if order.fee:
                yield (
                    f"i_{number}_f",
                    order.order_id,
                    f"f_{order.performance}",
                    "fee",
                    "1",
                    spelled(order.fee, dice),
                )


def session_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """A session for most orders, and as many that lead to none."""
    dice = dice_for("kulisse", seed, "sessions", batch)
    for week in WEEKS[batch]:
        for order in orders_of(week, scale, seed):
            number, day = order.order_id[2:], "-".join(reversed(order.ordered_at[:10].split(".")))
            page = pick(PAGES, dice)
            if dice() < 0.8:
                yield f"x_{number}_1", order.customer_id, f"{day}T06:{minute(dice)}:00Z", page, order.order_id
            visitor = order.customer_id if dice() < 0.5 else ""
            yield f"x_{number}_2", visitor, f"{day}T07:{minute(dice)}:30Z", pick(PAGES, dice), ""


FEED = Feed(
    name="kulisse",
    grows="customers, orders, their items, and sessions; scale 1 has 160 orders",
    columns=COLUMNS,
    files=FILES,
    reordered={"customers": REORDERED_CUSTOMERS},
    numbers=(),
    planted=PLANTED,
    rows={
        "customers": customer_rows,
        "venues": venue_rows,
        "events": event_rows,
        "performances": performance_rows,
        "orders": order_rows,
        "order_items": item_rows,
        "sessions": session_rows,
    },
    spoiled=SPOILED,
    corrected=under_earlier_key,
    dialects=DIALECTS,
)
