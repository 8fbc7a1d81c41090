"""The tickets feed: a theatre sells tickets, and counts who looks at its pages.

Who is who: numbers up to 100 are planted, regular rows count from 101, and number zero never arrives
(`s_000` is a showtime, `e_00` an event and `o_00000` an order that no file has). Events are the exception: the first
six are written out by hand and planted rows refer to them.
"""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

from sample_data.chance import dice_for, pick, spelled_amount, spelled_label, spelled_time
from sample_data.feed import Feed
from sample_data.weeks import (
    DAYS,
    FIRST_NUMBER,
    WEEK_SECONDS,
    WEEKS,
    known_until,
    numbers_of,
    time_at,
    under_earlier_key,
)

# ----------------------------------------------------------------------------------------------------------------------
# What is written by hand
# ----------------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "accounts": ("account_id", "email", "created_at"),
    "events": ("event_id", "name", "slug"),
    "showtimes": ("showtime_id", "event_id", "start_at"),
    "orders": ("order_id", "account_id", "showtime_id", "created_at", "total_amount"),
    "transactions": ("transaction_id", "order_id", "amount", "occurred_at"),
    "pages": ("page_id", "account_id", "customer_id", "page_type", "occurred_at", "event_id", "showtime_id"),
    "identity_merges": ("from_customer_id", "to_customer_id", "merged_at"),
}

# Pages have no batch_002: that week's pages come late, in batch_003.
PAGE_WEEKS = {"initial": range(7), "batch_001": range(7, 8), "batch_003": range(8, 10)}

# Where each delivery lands, in which format, and what is odd about the file itself.
FILES = (
    # entity, batch, extension, quirk
    ("accounts", "initial", ".csv", ""),
    ("events", "initial", ".csv", ""),
    ("showtimes", "initial", ".csv", ""),
    ("orders", "initial", ".csv", ""),
    ("transactions", "initial", ".csv", ""),
    ("pages", "initial", ".csv", ""),
    ("identity_merges", "initial", ".csv", ""),
    ("accounts", "batch_001", ".csv", ""),
    ("showtimes", "batch_001", ".csv", ""),
    ("orders", "batch_001", ".csv", "bom+crlf"),  # as a spreadsheet saves it
    ("transactions", "batch_001", ".csv", ""),
    ("pages", "batch_001", ".csv", ""),
    ("events", "batch_002", ".json", ""),
    ("showtimes", "batch_002", ".csv", ""),
    ("orders", "batch_002", ".csv", "reordered"),  # columns are found by name, never by position
    ("transactions", "batch_002", ".csv.gz", ""),
    ("identity_merges", "batch_002", ".csv", ""),
    ("accounts", "batch_003", ".jsonl", ""),
    ("showtimes", "batch_003", ".csv", ""),
    ("orders", "batch_003", ".csv.gz", ""),
    ("transactions", "batch_003", ".jsonl", ""),
    ("pages", "batch_003", ".jsonl", ""),
    ("identity_merges", "batch_003", ".json", ""),
)
REORDERED_ORDERS = ("total_amount", "order_id", "created_at", "showtime_id", "account_id")


class Event(NamedTuple):
    event_id: str
    name: str
    slug: str
    price_cents: int
    popularity: int  # how many of the orders it draws, against the others
    weekday: int  # of its weekly showtime, 0 is Monday
    start_at: str  # time of day, UTC
    batch: str  # the delivery that brings the event


EVENTS = (
    Event("e_01", "Hamlet", "hamlet", 4500, 5, 5, "19:30:00", "initial"),
    Event("e_02", "The Magic Flute", "the-magic-flute", 6250, 4, 6, "18:00:00", "initial"),
    Event("e_03", "Swan Lake", "swan-lake", 5800, 4, 4, "20:00:00", "initial"),
    Event("e_04", 'Midnight Jazz, "Live at the Old Mill"', "midnight-jazz", 2400, 3, 5, "23:00:00", "initial"),
    Event("e_05", "An Evening at Café Zoë", "cafe-zoe", 3200, 2, 3, "20:30:00", "initial"),
    # A new show: tickets sell from 2026-01-19 on, its showtimes come in batch_001, the event itself only in batch_002.
    Event("e_06", "Robots in Love", "robots-in-love", 3950, 3, 2, "19:00:00", "batch_002"),
)

# The planted rows. One line each: entity, batch, |the values in the order of COLUMNS|, and why it is there.
# feed.py explains the [brackets].
PLANTED = """
# Whitespace around values
accounts         initial    |a_0001| Mara.Lind@example.org |2025-03-01T09:00:00Z|  spaces around the email
accounts         initial    |  a_0002|tom.berg@example.org|2025-03-02 |  spaces around the key; a date only
events           initial    | e_01|  Hamlet  |hamlet |  the event's regular row, further down, says the same
showtimes        initial    |s_001 |e_01| 2026-01-10T19:30:00Z|  spaces around
showtimes        initial    |s_002|e_02|2026-01-11T18:00:00Z|  clean; planted orders need it
orders           initial    |  o_00001 |a_0001\t| s_001|\t2025-12-02T09:15:00Z | 45.00 |  spaces and tabs
pages            initial    |p_00001 | a_0001|c_0001 | Viewed Product Page |2025-12-02T09:01:00Z|e_01 | s_001|  spaces

# Casing and punctuation: four spellings of one page type, and another with a trailing mark
pages            initial    |p_00002|a_0001|c_0001|Viewed Product Page|2025-12-02T09:02:00Z|e_01||  title case
pages            initial    |p_00003|a_0001|c_0001|VIEWED_PRODUCT_PAGE|2025-12-02T09:03:00Z|e_01||  capitals
pages            initial    |p_00004|a_0001|c_0001|viewed-product-page|2025-12-02T09:04:00Z|e_01||  dashes
pages            initial    |p_00005|a_0001|c_0001|viewed_product_page|2025-12-02T09:05:00Z|e_01||  as it should be
pages            initial    |p_00006|a_0001|c_0001|Rated Seat View!|2025-12-02T09:06:00Z|e_01||  a trailing mark

# Amounts
orders           initial    |o_00002|a_0001|s_001|2025-12-02T09:20:00Z|$200.50|  a dollar sign
orders           initial    |o_00003|a_0002|s_002|2025-12-02T09:25:00Z|1,000.00|  a thousands comma, so quoted
orders           initial    |o_00004|a_0002|s_002|2025-12-02T09:30:00Z|+62.50|  a plus sign
orders           initial    |o_00005|a_0002|s_002|2025-12-02T09:35:00Z|$1,250|  dollar, comma, no cents
orders           initial    |o_00006|a_0002|s_002|2025-12-02T09:40:00Z|0|  a press ticket costs nothing
transactions     initial    |t_00001|o_00002|$200.50|2025-12-02T09:21:00Z|  paid
transactions     initial    |t_00002|o_00002|(15.00)|2025-12-03T10:00:00Z|  a refund of 15.00
transactions     initial    |t_00003|o_00002|-$5.00|2025-12-03T10:05:00Z|  a refund of 5.00
transactions     initial    |t_00004|o_00003|1,000.00|2025-12-02T09:26:00Z|  paid
transactions     initial    |t_00005|o_00003|$-5|2025-12-04T11:00:00Z|  a refund of 5.00
transactions     initial    |t_00006|o_00003|($5.00)|2025-12-04T11:05:00Z|  a refund of 5.00
transactions     initial    |t_00007|o_00003|$(5.00)|2025-12-04T11:10:00Z|  a refund of 5.00

# Sentinels: N/A, NULL, None, null, - and empty are null
accounts         initial    |a_0003|N/A|2025-03-03T09:00:00Z|  no email
accounts         initial    |a_0004|null|2025-03-04T09:00:00Z|  no email
orders           initial    |o_00007|a_0003|N/A|2025-12-03T10:00:00Z|30.00|  no showtime: event unknown
orders           initial    |o_00008|a_0003||2025-12-03T10:05:00Z|30.00|  no showtime: event unknown
pages            initial    |p_00007|None|c_0002|NULL|2025-12-03T10:10:00Z|null|-|  four nulls
pages            initial    |p_00008|-||home_page|2025-12-03T10:15:00Z|N/A||  a page of nobody, about nothing

# Timestamps: ISO 8601, everything into UTC
orders           initial    |o_00009|a_0004|s_001|2025-12-08|45.00|  a date: midnight on a Monday
orders           initial    |o_00010|a_0004|s_001|2025-12-08T10:00|45.00|  no seconds, no zone
orders           initial    |o_00011|a_0004|s_001|2025-12-08 10:00:00.123Z|45.00|  a space and a fraction
orders           initial    |o_00012|a_0004|s_001|2025-12-08T10:00:00.123456Z|45.00|  microseconds
orders           initial    |o_00013|a_0004|s_001|2026-01-11T23:30:00-05:00|45.00|  Monday 04:30 UTC: the next week
orders           initial    |o_00014|a_0004|s_001|2026-01-12T00:30:00+02:00|45.00|  Sunday 22:30 UTC: the week before

# Duplicates within a batch and across batches
accounts         initial    |a_0005|ines@example.org|2025-03-05T09:00:00Z|
accounts         initial    |a_0005|ines@example.org|2025-03-05T09:00:00Z|  twice in the batch
accounts         batch_001  |a_0005|ines@example.org|2025-03-05T09:00:00Z|  and again a batch later
showtimes        initial    |s_009|e_02|2026-01-18T18:00:00Z|
showtimes        initial    |s_009|e_02|2026-01-18T18:00:00Z|  twice in the batch
orders           initial    |o_00015|a_0005|s_002|2025-12-15T10:00:00Z|62.50|
orders           initial    |o_00015|a_0005|s_002|2025-12-15T10:00:00Z|62.50|  twice in the batch
orders           batch_001  |o_00015|a_0005|s_002|2025-12-15T10:00:00Z|62.50|  and again a batch later
transactions     initial    |t_00008|o_00015|62.50|2025-12-15T10:01:00Z|
transactions     initial    |t_00008|o_00015|62.50|2025-12-15T10:01:00Z|  twice in the batch
transactions     batch_001  |t_00008|o_00015|62.50|2025-12-15T10:01:00Z|  and again a batch later
pages            initial    |p_00009|a_0005|c_0003|home_page|2025-12-15T09:55:00Z|||
pages            initial    |p_00009|a_0005|c_0003|home_page|2025-12-15T09:55:00Z|||  twice in the batch
pages            batch_001  |p_00009|a_0005|c_0003|home_page|2025-12-15T09:55:00Z|||  and again a batch later

# Corrections: the latest batch wins
accounts         initial    |a_0006|otto@exmaple.org|2025-03-06T09:00:00Z|
accounts         batch_001  |a_0006|otto@example.org|2025-03-06T09:00:00Z|  the email's typo is mended
events           batch_002  |e_03|Swan Lake: Extended Run|swan-lake|  renamed
showtimes        initial    |s_003|e_01|2026-01-17T19:30:00Z|
showtimes        batch_002  |s_003|e_03|2026-01-17T20:00:00Z|  moves to another event, and its order with it
showtimes        initial    |s_010|e_02|2026-02-01T18:00:00Z|
showtimes        batch_001  |s_010|e_02|2026-02-02T18:00:00Z|  moves to another day (and week)
orders           initial    |o_00016|a_0006|s_003|2026-01-05T10:00:00Z|90.00|  goes from e_01 to e_03 with its showtime
orders           initial    |o_00017|a_0006|s_001|2026-01-06T10:00:00Z|45.00|
orders           batch_001  |o_00017|a_0006|s_001|2026-01-06T10:00:00Z|50.00|  another amount
orders           initial    |o_00018|a_0006|s_001|2026-01-07T10:00:00Z|45.00|
orders           batch_002  |o_00018|a_0006|s_002|2025-12-30T10:00:00Z|62.50|  another week and another event
orders           initial    |o_00019|a_0006|s_001|2026-01-08T10:00:00Z|45.00|
orders           batch_001  |o_00019|a_0006|s_001|2026-01-08T10:00:00Z|90.00|  twice as much
orders           initial    |o_00020|a_0006|s_001|2026-01-08T11:00:00Z|45.00|
orders           batch_002  |o_00020|a_0006|s_001|2026-01-08T11:00:00Z|abc|  [row total_amount] so the 45.00 stays
transactions     initial    |t_00009|o_00017|45.00|2026-01-06T10:05:00Z|
transactions     batch_002  |t_00009|o_00019|45.00|2026-01-06T10:05:00Z|  belongs to another order, in another batch
transactions     initial    |t_00010|o_00016|90.00|2026-01-05T10:05:00Z|
pages            initial    |p_00010|a_0006|c_0004|home_page|2026-01-05T09:55:00Z|||
pages            batch_003  |p_00010|a_0006|c_0004|search_results|2026-01-05T09:55:00Z|||  another page type

# Late rows: they belong to weeks that earlier batches had
orders           batch_003  |o_00021|a_0002|s_001|2025-12-10T10:00:00Z|45.00|  eight weeks late
transactions     batch_003  |t_00011|o_00021|45.00|2025-12-10T10:05:00Z|  eight weeks late
pages            batch_003  |p_00011|a_0002|c_0005|viewed_product_page|2025-12-10T09:55:00Z|e_01||  eight weeks late

# Rows that arrive before what they point at
orders           initial    |o_00022|a_0003|s_004|2026-01-14T10:00:00Z|58.00|  showtime comes in batch_001
showtimes        batch_001  |s_004|e_03|2026-01-30T20:00:00Z|  the showtime o_00022 waits for
orders           batch_001  |o_00023|a_0003|s_005|2026-01-20T10:00:00Z|24.00|  showtime comes in batch_002
showtimes        batch_002  |s_005|e_04|2026-02-07T23:00:00Z|  the showtime o_00023 waits for
showtimes        batch_001  |s_006|e_06|2026-02-11T19:00:00Z|  its event comes in batch_002
orders           batch_001  |o_00024|a_0003|s_006|2026-01-21T10:00:00Z|39.50|  its event arrives in batch_002
orders           batch_001  |o_00025|a_0009|s_001|2026-01-22T10:00:00Z|45.00|  account comes in batch_003
accounts         batch_003  |a_0009|late.lena@example.org|2026-01-22T09:00:00Z|  the account o_00025 waits for
transactions     batch_001  |t_00012|o_00026|62.50|2026-01-25T23:59:00Z|  order comes in batch_002
orders           batch_002  |o_00026|a_0003|s_002|2026-01-25T23:58:00Z|62.50|  the order t_00012 waits for

# Rows whose other half never arrives
orders           initial    |o_00027|a_0004|s_000|2026-01-13T10:00:00Z|70.00|  showtime never arrives: event unknown
orders           batch_003  |o_00028|a_0004|s_000|2026-02-03T10:00:00Z|70.00|  showtime never arrives: event unknown
showtimes        initial    |s_007|e_00|2026-01-25T20:00:00Z|  its event never arrives
orders           initial    |o_00029|a_0004|s_007|2026-01-13T11:00:00Z|80.00|  its event never arrives: e_00
transactions     initial    |t_00013|o_00000|33.00|2026-01-13T12:00:00Z|  its order never arrives
pages            initial    |p_00012|a_0004|c_0006|viewed_seat_map|2026-01-13T09:00:00Z|e_00|s_000|  neither arrives

# Amounts that don't parse
orders           initial    |o_00031|a_0005|s_001|2025-12-20T10:00:00Z|12.345|  [row total_amount] three decimals
orders           initial    |o_00032|a_0005|s_001|2025-12-20T10:01:00Z|abc|  [row total_amount] letters
orders           initial    |o_00033|a_0005|s_001|2025-12-20T10:02:00Z|1,00|  [row total_amount] comma out of place
orders           initial    |o_00034|a_0005|s_001|2025-12-20T10:03:00Z|1e3|  [row total_amount] scientific notation
transactions     initial    |t_00031|o_00015|12.345|2025-12-20T10:00:00Z|  [row amount] three decimals
transactions     batch_003  |t_00032|o_00015|ten|2026-02-03T10:00:00Z|  [row amount] a word

# Timestamps that don't parse
orders           initial    |o_00035|a_0005|s_001|2026-02-30|45.00|  [row created_at] no such day
orders           initial    |o_00036|a_0005|s_001|03/02/2026|45.00|  [row created_at] March or February?
orders           initial    |o_00037|a_0005|s_001|yesterday|45.00|  [row created_at] a word
orders           initial    |o_00038|a_0005|s_001|2026-02-30|abc|  [row created_at, total_amount] two at once
transactions     batch_002  |t_00033|o_00015|5.00|yesterday|  [row occurred_at] a word
pages            batch_001  |p_00031|a_0005|c_0003|home_page|03/02/2026|||  [row occurred_at] March or February?
identity_merges  initial    |c_0030|c_0001|2026-02-30|  [row merged_at] no such day

# Required values that are missing
accounts         initial    ||nobody@example.org|2025-03-07T09:00:00Z|  [row account_id] empty
accounts         initial    |a_0011|eva@example.org|None|  [row created_at] a sentinel
events           initial    |N/A|The Lost Tapes|the-lost-tapes|  [row event_id] a sentinel
showtimes        initial    |s_011|-|2026-01-24T20:00:00Z|  [row event_id] a sentinel
orders           initial    ||a_0005|s_001|2025-12-21T10:00:00Z|45.00|  [row order_id] empty
orders           initial    |o_00039|N/A|s_001|2025-12-21T10:01:00Z|45.00|  [row account_id] a sentinel
orders           initial    |o_00040|a_0005|s_001|NULL|45.00|  [row created_at] a sentinel
orders           initial    |o_00041|a_0005|s_001|2025-12-21T10:02:00Z|-|  [row total_amount] a sentinel
transactions     initial    |None|o_00015|5.00|2025-12-21T10:00:00Z|  [row transaction_id] a sentinel
transactions     initial    |t_00034||5.00|2025-12-21T10:01:00Z|  [row order_id] empty
transactions     batch_003  |t_00035|o_00015||2026-02-03T10:05:00Z|  [row amount] a JSON null
pages            initial    ||a_0005|c_0003|home_page|2025-12-21T10:00:00Z|||  [row page_id] empty
pages            batch_003  |p_00032|a_0005|c_0003|home_page|null|||  [row occurred_at] a sentinel

# Rejected once, repaired later
accounts         initial    |a_0008|ole@example.org|2025-02-30|  [row created_at] no such day
accounts         batch_001  |a_0008|ole@example.org|2025-02-28|  repaired
showtimes        batch_001  |s_008|e_05|to be announced|  [row start_at] words
orders           batch_001  |o_00042|a_0008|s_008|2026-01-23T10:00:00Z|32.00|  event unknown until s_008 is repaired
showtimes        batch_002  |s_008|e_05|2026-02-12T20:30:00Z|  repaired

# Optional values that don't parse: the row stays, without them
accounts         initial    |a_0007|mara.lind(at)example.org|2025-03-07T09:00:00Z|  [value email] no @
accounts         batch_003  |a_0010|nobody@|2026-02-02T09:00:00Z|  [value email] no domain
pages            initial    |p_00033|a_0005|c_0003|?!|2025-12-22T10:00:00Z|e_01||  [value page_type] only punctuation

# Lines that can't be rows
orders           batch_001  |o_00043,a_0005,s_001|  [line] two values short
orders           batch_001  |o_00044,a_0005,s_001,2026-01-24T10:00:00Z,45.00,card,front row|  [line] two values too many
transactions     batch_001  |t_00036,"o_00015,5.00,2026-01-24T10:00:00Z|  [line] one stray quote; the rest must load
pages            batch_003  |{"page_id": "p_00034", "account_id": "a_00|  [line] JSON cut off in the middle

# Identity: the same merge twice, with different times (and once more, the same in all)
identity_merges  initial    |c_0001|c_0002|2026-01-03T10:00:00Z|  c_0001 becomes c_0002
identity_merges  initial    |c_0001|c_0002|2026-01-03T10:00:00Z|  twice in the batch
identity_merges  batch_002  |c_0001|c_0002|2026-01-28T10:00:00Z|  again, later: still c_0002

# Identity: one id into two targets; the latest wins, though it is delivered first
identity_merges  initial    |c_0003|c_0005|2026-01-15T10:00:00Z|  c_0003 becomes c_0005
identity_merges  batch_002  |c_0003|c_0004|2026-01-05T10:00:00Z|  older, delivered later: still c_0005
identity_merges  initial    |c_0006|c_0008|2026-01-06T10:00:00Z|  c_0006 becomes c_0008
identity_merges  initial    |c_0006|c_0007|2026-01-06T10:00:00Z|  the same moment: the greater target, c_0008, stays

# Identity: a chain c -> b -> a that closes in a later batch
identity_merges  initial    |c_0011|c_0010|2026-01-07T10:00:00Z|  c_0011 becomes c_0010
identity_merges  batch_003  |c_0010|c_0009|2026-02-04T10:00:00Z|  now both become c_0009

# Identity: a cycle of three, closed by an older merge that comes late; a tail hangs on it
identity_merges  initial    |c_0012|c_0013|2026-01-08T10:00:00Z|  c_0012 becomes c_0013
identity_merges  initial    |c_0013|c_0014|2026-01-10T10:00:00Z|  the cycle's latest merge: c_0014 survives
identity_merges  batch_002  |c_0014|c_0012|2026-01-09T10:00:00Z|  closes the cycle: all three are c_0014
identity_merges  batch_002  |c_0015|c_0012|2026-01-29T10:00:00Z|  the tail: c_0014 too

# Identity: merges that change nothing
identity_merges  initial    |c_0016|c_0016|2026-01-11T10:00:00Z|  a self-merge
identity_merges  initial    |c_0017||2026-01-11T11:00:00Z|  [row to_customer_id] a null target
identity_merges  batch_003  |NULL|c_0017|2026-02-05T10:00:00Z|  [row from_customer_id] a null source
identity_merges  initial    |c_0018|c_0019|2026-01-12T10:00:00Z|  wrong: c_0018 is a kiosk; see seed identity_overrides
pages            initial    |p_00041|a_0001|c_0018|home_page|2026-01-12T09:00:00Z|||  in the foyer: a_0001 was here,
pages            initial    |p_00042|a_0002|c_0018|home_page|2026-01-12T09:10:00Z|||  then a_0002,
pages            initial    |p_00043|a_0003|c_0018|home_page|2026-01-12T09:20:00Z|||  then a_0003: not a person
pages            initial    |p_00044|a_0004|c_0019|home_page|2026-01-12T09:30:00Z|||  a person

# Identity: two ids into one, and ids that no page has
identity_merges  initial    |c_0021|c_0023|2026-01-13T10:00:00Z|  c_0021 becomes c_0023
identity_merges  batch_002  | c_0022|c_0023 |2026-01-30|  so does c_0022
identity_merges  batch_003  |c_0031|c_0032|2026-02-06T10:00:00Z|  seen here only: c_0031 becomes c_0032

# Identity: every customer of the stories above is seen on a page
""" + "\n".join(
    f"pages initial |p_{50 + n:05d}||c_{n:04d}|home_page|2025-12-05T10:{n:02d}:00Z|||  c_{n:04d} is seen"
    for n in range(1, 24)
)

# How regular rows are spoiled above scale 1: (column, what stands in it). Duplicates and corrections come on top.
# Lines that can't be rows are only planted: one is enough to send a file of any size through the loader's careful path.
SPOILED = {
    "accounts": (("account_id", ""), ("email", "not an email"), ("created_at", "2025-02-30")),
    "orders": (
        ("order_id", ""), ("account_id", "N/A"), ("total_amount", "12.345"), ("total_amount", "abc"),
        ("created_at", "2026-02-30"), ("created_at", "03/02/2026"), ("created_at", "yesterday"),
        ("showtime_id", "s_000"), ("showtime_id", "NULL"),
    ),
    "transactions": (
        ("transaction_id", "-"), ("order_id", "o_00000"), ("amount", "abc"), ("amount", ""),
        ("occurred_at", "yesterday"),
    ),
    "pages": (("page_id", ""), ("occurred_at", "03/02/2026"), ("page_type", "?!"), ("showtime_id", "s_000")),
    "identity_merges": (("to_customer_id", ""), ("merged_at", "2026-02-30")),
}  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------------
# Regular rows, by rule
# ----------------------------------------------------------------------------------------------------------------------

# How much there is at scale 1. All but events and showtimes grow with the scale; the ten weeks stay the same.
ORDERS_BY_WEEK = (80, 95, 130, 140, 70, 90, 105, 115, 120, 110)
PAGES_A_WEEK = 80
ACCOUNTS_BY_BATCH = {"initial": 200, "batch_001": 20, "batch_003": 20}
ACCOUNTS = sum(ACCOUNTS_BY_BATCH.values())
# Each second account also has a device: a customer id of its own, which most often is merged into the account's.
DEVICES_BY_BATCH = {"initial": 80, "batch_002": 20, "batch_003": 20}
DEVICES = sum(DEVICES_BY_BATCH.values())

# Showtimes go on sale up to two weeks ahead: each delivery brings the weeks that its orders can choose from.
SHOWTIME_WEEKS = {"initial": range(9), "batch_001": range(9, 10), "batch_002": range(10, 11), "batch_003": (11,)}
FIRST_WEEK_OF_LATE_EVENTS = 9

GIVEN_NAMES = "ada ben cleo dag eli fay gus hana ivo jun kai lea max nia oli pia ravi sol tara uma vera wim"
FAMILY_NAMES = "abe berg cole diaz endo falk gray holm ito jung kaya lund moss nash park quist ruiz sato vos"
SHOW_ADJECTIVES = "Silent Golden Paper Winter Electric Borrowed Crooked Distant Velvet Hollow"
SHOW_NOUNS = "Garden Orchestra Lighthouse Parade Machine Harbour Letters Planet Carousel Mirror"
# Page types, how often each is viewed (of 20), and whether the page is about an event and a showtime.
PAGE_TYPES = (
    ("home_page", 5, False, False),
    ("search_results", 3, False, False),
    ("viewed_product_page", 6, True, False),
    ("viewed_seat_map", 3, True, True),
    ("started_checkout", 2, True, True),
    ("order_confirmation", 1, True, True),
)
PARTY_SIZES = (1, 2, 2, 2, 2, 3, 3, 4, 4, 6)


def account_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    dice = dice_for("tickets", seed, "accounts", batch)
    given, family = GIVEN_NAMES.split(), FAMILY_NAMES.split()
    opening = datetime.date(2025, 1, 1)
    days = [(opening + datetime.timedelta(days=day)).isoformat() for day in range(330)]  # all before the first order
    for number in numbers_of(ACCOUNTS_BY_BATCH, batch, scale):
        email = f"{pick(given, dice)}.{pick(family, dice)}.{number}@example.org"
        if dice() < 0.05:
            email = pick((email.upper(), f" {email} ", ""), dice)
        yield f"a_{number:04d}", email, spelled_time(pick(days, dice), int(dice() * 86400), dice)


def event_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    for event in all_events(scale):
        if event.batch == batch:
            yield event.event_id, event.name, event.slug


def showtime_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    for number, week, event in all_showtimes(scale):
        if week in SHOWTIME_WEEKS[batch]:
            yield f"s_{number:03d}", event.event_id, f"{DAYS[7 * week + event.weekday]}T{event.start_at}Z"


def order_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    dice = dice_for("tickets", seed, "orders", batch)
    for number, account, showtime, at, cents in all_sales(batch, scale, seed):
        yield f"o_{number:05d}", f"a_{account:04d}", showtime, time_at(at, dice), spelled_amount(cents, dice)


def transaction_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """Most orders are paid at once, some in two halves, a few are paid and refunded in part, a few are not paid yet."""
    dice = dice_for("tickets", seed, "transactions", batch)
    for number, _, _, at, cents in all_sales(batch, scale, seed):
        order, kind = f"o_{number:05d}", dice()
        if kind < 0.72:
            yield f"t_{number:05d}_1", order, spelled_amount(cents, dice), time_at(at + 60, dice)
        elif kind < 0.90:
            yield f"t_{number:05d}_1", order, spelled_amount(cents // 2, dice), time_at(at + 60, dice)
            yield f"t_{number:05d}_2", order, spelled_amount(cents - cents // 2, dice), time_at(at + 86400, dice)
        elif kind < 0.94:
            yield f"t_{number:05d}_1", order, spelled_amount(cents, dice), time_at(at + 60, dice)
            yield f"t_{number:05d}_2", order, spelled_amount(-(cents // 3), dice), time_at(at + 172800, dice)


def page_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    dice = dice_for("tickets", seed, "pages", batch)
    types = [kind for kind in PAGE_TYPES for _ in range(kind[1])]
    known_accounts = known_until(ACCOUNTS_BY_BATCH, batch) * scale
    first_device = FIRST_NUMBER + ACCOUNTS * scale
    for week in PAGE_WEEKS[batch]:
        showtimes = showtimes_on_sale(week, scale)
        count = PAGES_A_WEEK * scale
        for i in range(count):
            number = FIRST_NUMBER + week * count + i
            account = int(dice() * known_accounts)
            is_on_device = account % 2 == 0 and dice() < 0.4
            customer = first_device + account // 2 if is_on_device else FIRST_NUMBER + account
            is_logged_in = dice() < (0.3 if is_on_device else 0.8)
            page_type, _, has_event, has_showtime = types[int(dice() * 20)]
            showtime, event = showtimes[int(dice() * len(showtimes))]
            yield (
                f"p_{number:05d}",
                f"a_{FIRST_NUMBER + account:04d}" if is_logged_in else "",
                f"c_{customer:04d}",
                spelled_label(page_type, dice),
                time_at(int((week + (i + dice()) / count) * WEEK_SECONDS), dice),
                event.event_id if has_event else "",
                showtime if has_showtime else "",
            )


def merge_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """Devices are merged into their account's customer, or into the device before, which makes chains."""
    dice = dice_for("tickets", seed, "identity_merges", batch)
    first_device = FIRST_NUMBER + ACCOUNTS * scale
    first_day, days = {"initial": (0, 49), "batch_002": (49, 14), "batch_003": (63, 7)}[batch]
    for number in numbers_of(DEVICES_BY_BATCH, batch, scale):
        place = number - FIRST_NUMBER
        if dice() < 0.7:
            target = first_device + place - 1 if place and dice() < 0.2 else FIRST_NUMBER + 2 * place
            at = int((first_day + dice() * days) * 86400)
            yield f"c_{first_device + place:04d}", f"c_{target:04d}", time_at(at, dice)


def all_events(scale: int) -> list[Event]:
    """The six events, and made-up ones above scale 3: events grow with the square root of the scale."""
    events = list(EVENTS)
    adjectives, nouns = SHOW_ADJECTIVES.split(), SHOW_NOUNS.split()
    for number in range(len(events) + 1, len(events) + math.isqrt(scale)):
        name = f"The {adjectives[number % 10]} {nouns[number // 10 % 10]}"
        if number >= 100:  # all pairs of words are used
            name = f"{name} {number // 100 + 1}"
        slug, price_cents = name.lower().replace(" ", "-"), 2000 + 250 * (number % 17)
        events.append(Event(f"e_{number:02d}", name, slug, price_cents, 2, number % 7, "20:00:00", "initial"))
    return events


def all_showtimes(scale: int) -> Iterator[tuple[int, int, Event]]:
    """(number, week, event): each event plays once a week, for twelve weeks, the late one for the last three."""
    numbers = itertools.count(FIRST_NUMBER)
    for week in range(12):
        for event in all_events(scale):
            if event.batch == "initial" or week >= FIRST_WEEK_OF_LATE_EVENTS:
                yield next(numbers), week, event


def showtimes_on_sale(week: int, scale: int) -> list[tuple[str, Event]]:
    """(showtime_id, event) of the next two weeks, each as often as its event is popular."""
    on_sale = [(number, event) for number, at, event in all_showtimes(scale) if at in (week + 1, week + 2)]
    return [(f"s_{number:03d}", event) for number, event in on_sale for _ in range(event.popularity)]


def all_sales(batch: str, scale: int, seed: int) -> Iterator[tuple[int, int, str, int, int]]:
    """(number, account number, showtime_id, seconds since FIRST_DAY, cents) of each order, in the order of time.

    Orders and transactions both tell of these sales: each takes its own run through the same sequence.
    """
    dice = dice_for("tickets", seed, "sales", batch)
    known_accounts = known_until(ACCOUNTS_BY_BATCH, batch) * scale
    for week in WEEKS[batch]:
        showtimes = showtimes_on_sale(week, scale)
        first = FIRST_NUMBER + sum(ORDERS_BY_WEEK[:week]) * scale
        count = ORDERS_BY_WEEK[week] * scale
        for i in range(count):
            showtime, event = showtimes[int(dice() * len(showtimes))]
            is_group = dice() < 0.01
            tickets = 20 + int(dice() * 20) if is_group else PARTY_SIZES[int(dice() * len(PARTY_SIZES))]
            at = int((week + (i + dice()) / count) * WEEK_SECONDS)
            account = FIRST_NUMBER + int(dice() * known_accounts)
            yield first + i, account, showtime, at, tickets * event.price_cents


FEED = Feed(
    name="tickets",
    grows="orders, payments, pages and accounts; scale 1 has a thousand orders",
    columns=COLUMNS,
    files=FILES,
    reordered={"orders": REORDERED_ORDERS},
    numbers=("total_amount", "amount"),
    planted=PLANTED,
    rows={
        "accounts": account_rows,
        "events": event_rows,
        "showtimes": showtime_rows,
        "orders": order_rows,
        "transactions": transaction_rows,
        "pages": page_rows,
        "identity_merges": merge_rows,
    },
    spoiled=SPOILED,
    corrected=under_earlier_key,
)
