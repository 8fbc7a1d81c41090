"""Histories of deliveries to all feeds, drawn by hypothesis, and what must become of them.

A history is small and its ids come from small pools, so that late rows, corrections, duplicates, late showtimes, cycles
of merges and values that can't be read happen all the time. Each history gets a prefix for its ids and weeks of its
own: many of them fit into one warehouse, and each can be judged by itself.
"""

import csv
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

Row = tuple[str, tuple[str, ...]]  # entity, values in the order of COLUMNS (but see price_run)
Merge = tuple[str, str]  # from, to

STEP_COUNT = 4
COLUMNS = {
    "tickets/accounts": ["account_id", "email", "created_at"],
    "tickets/events": ["event_id", "name", "slug"],
    "tickets/showtimes": ["showtime_id", "event_id", "start_at"],
    "tickets/orders": ["order_id", "account_id", "showtime_id", "created_at", "total_amount"],
    "tickets/transactions": ["transaction_id", "order_id", "amount", "occurred_at"],
    "tickets/pages": ["page_id", "account_id", "customer_id", "page_type", "occurred_at", "event_id", "showtime_id"],
    "tickets/identity_merges": ["from_customer_id", "to_customer_id", "merged_at"],
    "market/coin_markets_snapshot": [
        "ingested_at_ts",
        "asset_id",
        "symbol",
        "name",
        "current_price_usd",
        "market_cap_usd",
        "market_cap_rank",
        "total_volume_usd",
        "high_24h_usd",
        "low_24h_usd",
        "pct_change_24h",
        "circulating_supply",
        "total_supply",
        "max_supply",
        "ath_usd",
        "ath_date",
        "atl_usd",
        "atl_date",
        "last_updated_ts",
        "request_scope",
        "requested_count",
        "is_whole",
    ],
    "market/coin_price_history": [
        "asset_id",
        "price_date",
        "close_price_usd",
        "market_cap_usd",
        "total_volume_usd",
        "source_ts_ms",
    ],
    "courses/users": ["id", "fullName", "email", "signupDate", "state", "isGovEmployee", "updatedAt", "deleted"],
    "courses/courses": ["course_id", "title", "category_name", "level", "publisher", "course_created_at"],
    "courses/enrolments": ["enrolment_id", "user_id", "course_id", "enrolled_at", "status"],
    "courses/events": [
        "id",
        "user_id",
        "course_id",
        "event_type",
        "event_timestamp",
        "session_id",
        "metadata",
    ],
    "shop/customers": ["customer_id", "name", "email", "country", "signup_date"],
    "shop/products": ["product_id", "name", "category", "unit_price", "unit_cost"],
    "shop/orders": [
        "order_id",
        "customer_id",
        "product_id",
        "quantity",
        "unit_price",
        "discount",
        "order_date",
        "status",
        "line_id",
    ],
}
DAY = 24 * 60 * 60 * 1000  # milliseconds
FIRST_MONDAY = date(2000, 1, 3)
WEEKS_EACH = 5  # the days below begin in the second and end in the fifth, and offsets reach into the first


@dataclass(frozen=True)
class History:
    """What is delivered at each step, and which merges are overridden when that step is built."""

    steps: tuple[tuple[Row, ...], ...]
    overrides: tuple[frozenset[Merge], ...]


def ids(letter: str, count: int) -> st.SearchStrategy[str]:
    """Ids carry a mark that becomes the prefix of their history."""
    return st.sampled_from([f"@{letter}{number}" for number in range(1, count + 1)])


nothing = st.sampled_from(["", " N/A ", "-", "None"])
days = st.integers(0, 20)
# Late on Sunday in UTC, on Monday by its offset, a fraction that would round into the next week, or no such day.
times = st.one_of(
    days.map("{{{}}}".format),
    days.map("{{{}}} 23:59:59.9999999Z".format),
    days.map("{{{}}}T23:30:00-02:00".format),
    days.map(" {{{}}}T00:10+01:00".format),
    st.sampled_from(["2026-02-30", "yesterday", "NULL"]),
)
amounts = st.sampled_from(["10.00", "$200.50", "1,000.00", "(15.00)", " -$5 ", "0", "0.07", "12.345", "abc", ""])
emails = st.sampled_from(["a@example.com", "b@example.com", "nobody", "null"])
page_types = st.sampled_from(["Viewed Product Page", "VIEWED_PRODUCT_PAGE", "home", "?!", "N/A"])
customers = ids("c", 6)
assets = ids("x", 2)
users = ids("u", 2)
courses = ids("k", 2)
booleans = st.sampled_from(["true", "FALSE", "0", "no", "", "maybe"])
dates = days.map("{{{}}}".format) | st.sampled_from(["2026-02-30", ""])
discounts = st.sampled_from(["", "", "10%", "33.3 %", "$1.00", "500", "some"])
line_statuses = st.sampled_from(["placed", "Delivered", "returned", "refunded", " CANCELLED ", "canceled", "lost"])
# Without an id, lines of one batch that share their order and product are lines of their own.
line_ids = st.sampled_from(["", "", "", "1", "2"])
prices = st.sampled_from(["1", "2.5", "0.00000012", "1.2e-07", "101", "0", "-1", "many"])
caps = st.sampled_from(["1000", "1e9", "0", "-5", "N/A", ""])


def rows(entity: str, *values: st.SearchStrategy[str]) -> st.SearchStrategy[Row]:
    return st.tuples(st.just(entity), st.tuples(*values))


sound_orders = rows(
    "tickets/orders",
    ids("o", 3),
    ids("a", 2),
    ids("s", 3),
    days.map("{{{}}} 10:00".format),
    st.sampled_from(["7.00", "8.50"]),
)
# A run of days: (asset, first day, number of days, close of the first day, moment within the day), see price_run. Lone
# days would hardly ever reach an average over 30; a run that is delivered again corrects many days at once.
price_runs = rows(
    "market/coin_price_history",
    assets,
    st.integers(0, 40).map(str),
    st.sampled_from(["1", "2", "8", "40", "60"]),
    st.sampled_from(["100", "3.25", "0.00000012"]),
    # Midnight, early in the day, late in the day, and of another day than it says.
    st.sampled_from(["0", "0", "0", "1", str(DAY - 2), str(DAY)]),
)

snapshots = rows(
    "market/coin_markets_snapshot",
    days.map("{{{}}} 06:00".format) | times,
    assets | nothing,
    st.sampled_from(["xx", "yy", ""]),
    st.sampled_from(["An asset", "Renamed", "-"]),
    prices,
    caps,
    st.sampled_from(["1", "10", "11", "51", "0", "1.5", ""]),
    *[caps | prices] * 7,
    prices,
    times,
    prices,
    times,
    times,
    st.sampled_from(["top", "top", "coins", ""]),
    st.sampled_from(["1", "2", "0", ""]),
    st.sampled_from(["true", "true", "false", ""]),
)

sound_lines = rows(
    "shop/orders",
    ids("r", 3),
    ids("b", 2),
    ids("q", 2),
    st.sampled_from(["1", "3", "-1"]),
    st.sampled_from(["9.99", "20"]),
    st.sampled_from(["", "10%"]),
    days.map("{{{}}}".format),
    st.sampled_from(["placed", "placed", "returned", "cancelled"]),
    line_ids,
)

# So often with the same order and product that lines of one batch share them.
twin_lines = rows(
    "shop/orders",
    st.just("@r1"),
    st.just("@b1"),
    st.just("@q1"),
    st.sampled_from(["1", "3"]),
    st.sampled_from(["9.99", "20"]),
    st.just(""),
    days.map("{{{}}}".format),
    st.just("placed"),
    st.just(""),
)

# What is named several times is drawn as much more often.
any_row = st.one_of(
    rows("tickets/accounts", ids("a", 2), emails, times),
    rows("tickets/events", ids("e", 2), st.just("A show"), st.just("a-show")),
    rows("tickets/showtimes", ids("s", 3), ids("e", 3), times),
    rows("tickets/showtimes", ids("s", 3), ids("e", 3), days.map("{{{}}}".format)),
    rows("tickets/orders", ids("o", 3) | nothing, ids("a", 2), ids("s", 4) | nothing, times, amounts),
    sound_orders,
    sound_orders,
    rows("tickets/transactions", ids("t", 3), ids("o", 4), amounts, times),
    rows(
        "tickets/pages",
        ids("p", 4),
        ids("a", 2) | nothing,
        customers | nothing,
        page_types,
        times,
        ids("e", 2),
        ids("s", 2),
    ),
    rows("tickets/identity_merges", customers, customers | nothing, times),
    rows("tickets/identity_merges", customers, customers, days.map("{{{}}}".format)),
    snapshots,
    snapshots,
    snapshots,
    price_runs,
    price_runs,
    rows(
        "courses/users",
        users,
        st.just("A user"),
        emails,
        dates,
        st.sampled_from(["ny", "x"]),
        booleans,
        times,
        booleans,
    ),
    rows("courses/courses", courses, st.sampled_from(["A course", "Renamed"]), nothing, nothing, nothing, times),
    rows(
        "courses/enrolments",
        ids("n", 4),
        users,
        courses,
        days.map("{{{}}}".format) | times,
        st.sampled_from(["Active", "Active", "Completed", "", "canceled", "paused", "?"]),
    ),
    rows(
        "courses/events",
        ids("v", 5),
        users,
        courses,
        st.sampled_from(["Video Complete", "quiz_submit", "page_view", "beamed_up", ""]),
        days.map("{{{}}} 12:00".format) | times,
        ids("z", 2) | nothing,
        st.sampled_from(["video:14", "quiz:", ""]),
    ),
    rows("shop/customers", ids("b", 2), st.just("A customer"), emails, st.sampled_from(["de", "Spain"]), dates),
    rows("shop/products", ids("q", 2), st.just("A product"), st.sampled_from(["Garden", ""]), amounts, amounts),
    rows(
        "shop/orders",
        ids("r", 3) | nothing,
        ids("b", 3) | nothing,
        ids("q", 3),
        st.sampled_from(["1", "2", "-1", "0", "x", "5000"]),
        amounts | st.sampled_from(["0.125", "-20.00"]),
        discounts,
        dates | st.just("2062-03-01"),
        line_statuses,
        line_ids,
    ),
    sound_lines,
    sound_lines,
    twin_lines,
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Overrides name merges that are delivered, before them or after; a few name what never comes."""
    steps = draw(st.tuples(*[st.lists(any_row, min_size=10, max_size=30).map(tuple)] * STEP_COUNT))
    merges = [values[:2] for step in steps for entity, values in step if entity == "tickets/identity_merges"]
    override = st.sampled_from(merges or [("@c1", "@c2")]) | st.tuples(customers, customers)
    return History(steps, draw(st.tuples(*[st.frozensets(override, max_size=3)] * STEP_COUNT)))


def draw(count: int, seed_number: int) -> list[History]:
    """As many histories as asked for, the same for the same seed."""
    return [draw_one(seed_number * 1_000 + number) for number in range(count)]


def draw_one(seed_number: int) -> History:
    """One history. Each has a run of hypothesis of its own, because a run varies what it drew before: its histories
    share most of their merges, and prove little more than one. The first example of a run is always the simplest one.
    """
    examples: list[History] = []

    @seed(seed_number)
    @settings(max_examples=2, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(histories())
    def collect(history: History) -> None:
        examples.append(history)

    collect()
    return examples[-1]


def placed(text: str, number: int) -> str:
    """The text with the ids and the days of history `number`."""
    monday = FIRST_MONDAY + timedelta(weeks=WEEKS_EACH * number + 1)
    text = text.replace("@", f"h{number}-", 1) if text.startswith("@") else text
    return re.sub(r"\{(\d+)\}", lambda day: str(monday + timedelta(days=int(day[1]))), text)


def history_of(row: Iterable[object]) -> int | None:
    """Number of the history that a row of a model belongs to, by its ids or its week; None where it has neither."""
    for value in row:
        if isinstance(value, str) and (found := re.match(r"h(\d+)-", value)):
            return int(found[1])
        if isinstance(value, date) and value >= FIRST_MONDAY:
            return (date(value.year, value.month, value.day) - FIRST_MONDAY).days // 7 // WEEKS_EACH
    return None


def price_run(number: int, asset: str, day: str, length: str, close: str, moment: str) -> list[list[str]]:
    """The days of a run in history `number`, with closes that differ from day to day, and one day in nine left out."""
    run = []
    for offset in range(int(length)):
        price_date = date.fromisoformat(placed(f"{{{int(day) + offset}}}", number))
        midnight = (price_date - date(1970, 1, 1)).days * DAY
        if offset % 9 != 8:
            price = Decimal(close) * (1 + offset % 3)
            run.append([placed(asset, number), str(price_date), str(price), "1e9", "", str(midnight + int(moment))])
    return run


def write_step(drawn: list[History], step: int, data: Path) -> list[str]:
    """Writes one batch per entity that has rows at this step; returns the names of the batches for bin/ingest."""
    delivered: dict[str, list[list[str]]] = {entity: [] for entity in COLUMNS}
    for number, history in enumerate(drawn):
        for entity, values in history.steps[step]:
            if entity == "market/coin_price_history":
                delivered[entity] += price_run(number, *values)
            else:
                delivered[entity].append([placed(value, number) for value in values])
    names = []
    for entity, batch in delivered.items():
        if batch:
            path = data / "incremental" / entity / f"step_{step}.csv"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([COLUMNS[entity], *batch])
            names.append(f"{entity}/step_{step}")
    return names


def overrides_at(drawn: list[History], step: int) -> list[Merge]:
    """The merges to ignore at this step."""
    return [
        (placed(left, number), placed(right, number))
        for number, history in enumerate(drawn)
        for left, right in sorted(history.overrides[step])
    ]


def smaller(history: History) -> list[History]:
    """The history less one delivered row, or less all overrides."""
    candidates = []
    for step, delivered in enumerate(history.steps):
        for position in range(len(delivered)):
            less = delivered[:position] + delivered[position + 1 :]
            steps = (*history.steps[:step], less, *history.steps[step + 1 :])
            candidates.append(History(steps, history.overrides))
    if any(history.overrides):
        candidates.append(History(history.steps, (frozenset(),) * STEP_COUNT))
    return candidates
