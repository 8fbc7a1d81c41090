"""The shop feed: a hardware and garden shop on the web sells products, and takes some of them back.

Who is who: customers up to `c_100`, products up to `p_30` and orders up to `o_1000` are planted, regular rows count
from there on, and number zero never arrives (no file has the customer `c_000` or the product `p_00`).

A line of an order comes again when something about it has changed: regular lines that are still under way when a batch
ends come with their new status in the next one.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import NamedTuple

from sample_data.chance import ODD_SPELLINGS, Dice, dice_for, pick, spelled_amount, spelled_label
from sample_data.feed import Feed
from sample_data.weeks import DAYS, FIRST_DAY, FIRST_NUMBER, WEEKS, known_until, numbers_of

# ----------------------------------------------------------------------------------------------------------------------
# What is written by hand
# ----------------------------------------------------------------------------------------------------------------------

COLUMNS = {
    "customers": ("customer_id", "name", "email", "country", "signup_date"),
    "products": ("product_id", "name", "category", "unit_price", "unit_cost"),
    "orders": (
        "order_id", "customer_id", "product_id", "quantity", "unit_price", "discount", "order_date", "status",
    ),
}  # fmt: skip

CLOSED = [DAYS.index(day) for day in ("2025-12-25", "2025-12-26", "2026-01-01", "2026-01-02")]

FILES = (
    # entity, batch, extension, quirk
    ("customers", "initial", ".csv", ""),
    ("products", "initial", ".csv", ""),
    ("orders", "initial", ".csv", ""),
    ("customers", "batch_001", ".jsonl", ""),
    ("products", "batch_001", ".json", ""),
    ("orders", "batch_001", ".csv", "bom+crlf"),
    ("customers", "batch_002", ".csv", "reordered"),
    ("products", "batch_002", ".csv", ""),
    ("orders", "batch_002", ".jsonl", ""),
    ("products", "batch_003", ".csv", ""),
    ("orders", "batch_003", ".csv.gz", ""),
)
REORDERED_CUSTOMERS = ("country", "customer_id", "signup_date", "name", "email")


class Product(NamedTuple):
    product_id: str
    name: str
    category: str
    popularity: int  # how many of the lines it draws, against the others
    versions: tuple  # (batch, price, cost) from that batch on, in cents


PRODUCTS = (
    Product("p_31", "Claw Hammer", "hand_tools", 4, (("initial", 1890, 940),)),
    Product("p_32", "Screwdriver Set, 12 Pieces", "hand_tools", 5, (("initial", 2450, 1120),)),
    Product("p_33", "Tape Measure 5 m", "hand_tools", 6, (("initial", 795, 280), ("batch_002", 845, 310))),
    Product("p_34", 'Pruning Saw "Little Beaver"', "hand_tools", 2, (("initial", 3200, 1750),)),
    Product("p_35", "Japanese Pull Saw", "hand_tools", 1, (("initial", 4100, 2260),)),
    Product("p_36", "Spirit Level 60 cm", "hand_tools", 2, (("initial", 2175, 1030),)),
    Product("p_37", "Bypass Pruner »Öland«", "garden", 4, (("initial", 2790, 1300),)),
    Product("p_38", "Terracotta Pot, 20 cm", "garden", 6, (("initial", 650, 210),)),
    Product("p_39", "Watering Can 10 l", "garden", 4, (("initial", 1995, 870),)),
    Product("p_40", "Potting Soil 40 l", "garden", 5, (("initial", 990, 520), ("batch_001", 1050, 560))),
    Product("p_41", "Bird Feeder", "garden", 3, (("initial", 1425, 605),)),
    Product("p_42", "Wheelbarrow", "garden", 1, (("initial", 8900, 5400), ("batch_003", 8400, 5650))),
    Product(
        "p_43", "Wall Paint, White, 10 l", "paint", 3,
        (("initial", 4990, 2740), ("batch_001", 4690, 2740), ("batch_003", 4990, 2810)),
    ),
    Product("p_44", 'Wall Paint "Crème Brûlée", 2.5 l', "paint", 2, (("initial", 2240, 1190),)),
    Product("p_45", "Masking Tape 50 m", "paint", 6, (("initial", 420, 115),)),
    Product("p_46", "Paint Roller Set", "paint", 3, (("initial", 1280, 500),)),
    Product("p_47", "Linseed Oil 1 l", "paint", 2, (("initial", 1160, 610), ("batch_002", 1290, 740))),
    Product("p_48", "Wood Screws 4 × 40 mm, Box of 200", "fasteners", 6, (("initial", 875, 330),)),
    Product("p_49", "Wall Plugs 8 mm, Box of 100", "fasteners", 5, (("initial", 535, 160),)),
    Product("p_50", "Brass Hook", "fasteners", 4, (("initial", 245, 70),)),
    Product("p_51", "Cable Ties, Box of 500", "fasteners", 2, (("initial", 1330, 475),)),
    Product("p_52", "LED Bulb E27", "lighting", 6, (("initial", 395, 190), ("batch_001", 345, 190))),
    Product("p_53", 'Desk Lamp "Näktergal"', "lighting", 3, (("initial", 3850, 2100), ("batch_002", 1990, 2100))),
    Product("p_54", "Solar Garden Light", "lighting", 3, (("batch_001", 1670, 885),)),
    Product("p_55", "Crystal Chandelier", "lighting", 0, (("initial", 145000, 91000),)),
    Product("p_56", "Gift Wrapping", "", 2, (("initial", 150, 35),)),
)  # fmt: skip

# The planted rows. One line each: entity, batch, |the values in the order of COLUMNS|, and why it is there.
# feed.py explains the [brackets].
PLANTED = """
# Done by hand: all that customer c_001 ever orders, and all that is ever sold of product p_01
customers initial   |c_001|Mara Lind|mara.lind@example.org|DE|2025-03-01|  three orders
products  initial   |p_01|Brass Door Knocker|Fasteners|20.00|12.00|
products  initial   |p_02|Copper Lantern|Lighting|50.00|30.00|
orders    initial   |o_0001|c_001|p_01|3|20.00||2025-12-02|delivered|  60.00, cost 36.00
orders    initial   |o_0001|c_001|p_02|1|50.00|10%|2025-12-02|delivered|  50.00 less 5.00, cost 30.00
orders    initial   |o_0002|c_001|p_01|2|20.00|5.00|2025-12-16|delivered|  40.00 less 5.00, cost 24.00
orders    initial   |o_0001|c_001|p_01|-1|20.00||2025-12-20|returned|  one knocker comes back: 20.00, cost 12.00
orders    batch_001 |o_0003|c_001|p_02|2|50.00||2026-01-20|delivered|  100.00, cost 60.00
orders    batch_003 |o_0004|c_002|p_01|4|18.50|50%|2026-02-03|shipped|  74.00 less 37.00, cost 48.00: at a loss

# Whitespace around values
customers initial   | c_002 |  Ines Vos |ines.vos@example.org\t| NL| 2025-03-02 |  spaces and a tab
products  initial   | p_03|  Hand Trowel  |Garden | 12.50|5.00 |  spaces
orders    initial   | o_0005 |c_002\t| p_03| 2 |\t12.50 | 10% | 2025-12-03 | Shipped |  spaces and tabs

# Casing and punctuation of labels
customers initial   |c_003|Zoë Müller-Łukasik|zoe@example.org|de|2025-03-03|  small letters
customers initial   |c_004|Bo Quist, "the Elder"|bo@example.org|Se|2025-03-04|  one of each
products  initial   |p_04|Wood Chisel|HAND TOOLS|25.00|14.00|  capitals
products  initial   |p_05|Whetstone|hand-tools|40.00|22.00|  a dash
products  initial   |p_06|Rasp|Hand_Tools!|15.00|6.50|  an underscore and a mark
products  initial   |p_07|Picture Hook|fasteners|2.00|0.50|  as it should be
orders    initial   |o_0006|c_002|p_03|1|12.50||2025-12-03|DELIVERED|  capitals
orders    initial   |o_0006|c_002|p_04|1|25.00||2025-12-03| Shipped |  title case, and spaces
orders    initial   |o_0006|c_002|p_05|1|40.00||2025-12-03|placed|  as it should be
orders    initial   |o_0006|c_002|p_06|1|15.00||2025-12-03|Delivered.|  a full stop
orders    initial   |o_0006|c_002|p_07|1|2.00||2025-12-03|CANCELLED|  counts nowhere

# Amounts and quantities
products  initial   |p_08|Garden Shed|Garden|$1,250.00|1,000|  a dollar sign, thousands commas
orders    initial   |o_0007|c_003|p_03|1|$1,250.00||2025-12-04|delivered|  dollar and comma, so quoted
orders    initial   |o_0007|c_003|p_04|1|1,000.00||2025-12-04|delivered|  a comma
orders    initial   |o_0007|c_003|p_05|1|$1,250||2025-12-04|delivered|  no cents
orders    initial   |o_0007|c_003|p_06|+2|+62.5||2025-12-04|delivered|  plus signs, one decimal
orders    initial   |o_0007|c_003|p_07|010|0||2025-12-04|delivered|  ten, for free
orders    initial   |o_0007|c_003|p_08|1000|1.00||2025-12-04|cancelled|  the most units that are plausible

# Discounts
orders    initial   |o_0008|c_003|p_02|2|50.00|$5|2025-12-05|delivered|  an amount
orders    initial   |o_0008|c_003|p_03|2|12.50|12.5 %|2025-12-05|delivered|  a share, with a space
orders    initial   |o_0008|c_003|p_04|2|25.00|0|2025-12-05|delivered|  none
orders    initial   |o_0008|c_003|p_05|2|40.00|0%|2025-12-05|delivered|  none
orders    initial   |o_0008|c_003|p_06|2|15.00|100%|2025-12-05|delivered|  all of it
orders    initial   |o_0008|c_003|p_07|2|2.00|4.00|2025-12-05|delivered|  just the line's amount: all of it
orders    initial   |o_0008|c_003|p_08|2|1,250.00|$1,000.00|2025-12-05|delivered|  over a thousand
orders    initial   |o_0009|c_003|p_03|1|12.50|N/A|2025-12-05|delivered|  a sentinel: none
orders    initial   |o_0009|c_003|p_04|1|25.00|-|2025-12-05|delivered|  a sentinel: none
orders    initial   |o_0009|c_003|p_05|1|40.00|07.25%|2025-12-05|delivered|  two decimals: 2.90
orders    initial   |o_0009|c_003|p_06|3|15.00|33.33%|2025-12-05|delivered|  14.9985: rounded, 15.00
orders    initial   |o_0009|c_003|p_07|1|0|0.00|2025-12-05|delivered|  none of nothing
orders    batch_002 |o_0064|c_003|p_03|1|12.50||2026-01-27|delivered|  a JSON null: none

# Sentinels: N/A, NULL, None, null, - and empty are null
customers initial   |c_005|N/A|NULL|None|null|  only a key
customers batch_001 |c_013|-||N/A|null|  only a key
products  initial   |p_09|None|-|N/A|NULL|  only a key
products  batch_001 |p_10|null||-||  only a key

# Duplicates within a batch and across batches
customers initial   |c_006|Otto Falk|otto.falk@example.org|AT|2025-03-06|
customers initial   |c_006|Otto Falk|otto.falk@example.org|AT|2025-03-06|  twice in the batch
customers batch_001 |c_006|Otto Falk|otto.falk@example.org|AT|2025-03-06|  and again a batch later
products  initial   |p_11|Plant Label|garden|0.95|0.25|
products  initial   |p_11|Plant Label|garden|0.95|0.25|  twice in the batch
products  batch_001 |p_11|Plant Label|garden|0.95|0.25|  and again a batch later
orders    initial   |o_0010|c_006|p_04|2|25.00|10%|2025-12-08|delivered|
orders    initial   |o_0010|c_006|p_04|2|25.00|10%|2025-12-08|delivered|  twice in the batch
orders    batch_001 |o_0010|c_006|p_04|2|25.00|10%|2025-12-08|delivered|  and again a batch later

# Corrections: the latest batch wins
customers initial   |c_007|Lea Cole|lea.cole@exmaple.org|DE|2025-03-07|
customers batch_001 |c_007|Lea Cole|lea.cole@example.org|DE|2025-03-07|  the email's typo is mended
customers batch_002 |c_007|Lea Cole|lea.cole@example.org|AT|2025-03-07|  moves to another country
products  initial   |p_12|Rake|hand tools|18.00|8.00|
products  batch_003 |p_12|Garden Rake|garden|18.00|8.00|  another name and category
orders    initial   |o_0011|c_007|p_04|1|25.00||2025-12-09|delivered|
orders    batch_001 |o_0011|c_007|p_04|3|24.00||2025-12-09|delivered|  a batch later: 72.00
orders    initial   |o_0013|c_007|p_05|1|40.00||2026-01-06|delivered|
orders    batch_002 |o_0013|c_007|p_05|1|40.00||2026-01-09|delivered|  moves to another day
orders    initial   |o_0014|c_007|p_05|2|40.00||2026-01-07|placed|
orders    batch_001 |o_0014|c_007|p_05|2|40.00||2026-01-07|cancelled|  counts nowhere any more
orders    initial   |o_0015|c_007|p_05|1|40.00||2026-01-08|delivered|
orders    batch_002 |o_0015|c_007|p_05|1|40.00||2026-01-08|returned|  given back after all
orders    initial   |o_0016|c_007|p_06|4|15.00||2026-01-08|delivered|
orders    batch_001 |o_0016|c_007|p_06|two|15.00||2026-01-08|delivered|  [row quantity] so the 4 stay
orders    initial   |o_0017|c_007|p_04|1|25.00||2026-01-09|placed|  the wrong product
orders    batch_001 |o_0017|c_007|p_04|1|25.00||2026-01-09|cancelled|  this one goes,
orders    batch_001 |o_0017|c_007|p_05|1|40.00||2026-01-09|delivered|  that one comes: a line of its own
orders    initial   |o_0018|c_007|p_06|2|15.00||2026-01-10|delivered|
orders    batch_003 |o_0018|c_008|p_06|2|15.00|20%|2026-01-10|delivered|  of another customer, and with a discount
customers initial   |c_008|Max Ito|max.ito@example.org|JP|2025-03-08|
orders    batch_001 |o_0019|c_007|p_06|1|15.00||2026-01-19|cancelled|
orders    batch_003 |o_0019|c_007|p_06|1|15.00||2026-01-19|delivered|  cancelled by mistake

# Days without sales: nothing is ordered on the days around Christmas and New Year, but for these lines
orders    initial   |o_0012|c_006|p_04|2|25.00||2025-12-25|delivered|  the only line of 2025-12-25
orders    batch_001 |o_0012|c_006|p_04|2|25.00||2025-12-27|delivered|  moves away: a day without sales is left
orders    initial   |o_0020|c_006|p_05|1|40.00||2026-01-02|cancelled|  the only line of 2026-01-02 counts nowhere

# Late rows: they belong to weeks that earlier batches had
orders    batch_003 |o_0021|c_006|p_03|4|12.50||2025-12-10|delivered|  eight weeks late
orders    batch_003 |o_0021|c_006|p_03|-1|12.50||2025-12-17|returned|  seven weeks late

# Rows that arrive before what they point at
orders    initial   |o_0022|c_010|p_03|1|12.50||2026-01-12|delivered|  customer comes in batch_002
customers batch_002 |c_010|Late Lena|late.lena@example.org|FI|2026-01-12|  the customer o_0022 waits for
orders    batch_001 |o_0023|c_006|p_13|2|35.00||2026-01-21|delivered|  product comes in batch_003: no cost until then
products  batch_003 |p_13|Rain Barrel|Garden|35.00|19.00|  the product o_0023 waits for
orders    batch_001 |o_0024|c_006|p_04|-1|25.00||2026-01-22|returned|  a return whose sale comes in batch_002
orders    batch_002 |o_0024|c_006|p_04|2|25.00||2026-01-19|delivered|  the sale it waits for

# Rows whose other half never arrives
orders    initial   |o_0025|c_000|p_03|1|12.50||2026-01-13|delivered|  customer never arrives
orders    initial   |o_0026|c_006|p_00|2|9.00||2026-01-13|delivered|  product never arrives: no cost
orders    batch_003 |o_0027|c_000|p_00|1|9.00|10%|2026-02-03|placed|  neither arrives
orders    initial   |o_0028|c_006|p_05|-2|40.00||2026-01-14|returned|  the sale never arrives: only given back

# Prices and costs that change
products  initial   |p_14|Folding Ladder|hand tools|30.00|18.00|
orders    initial   |o_0029|c_008|p_14|2|30.00||2025-12-11|delivered|  at the old price
products  batch_002 |p_14|Folding Ladder|hand tools|27.00|21.00|  another price and cost
orders    batch_003 |o_0030|c_008|p_14|2|27.00||2026-02-04|delivered|  at the new price
products  initial   |p_15|Hose 20 m|garden|15.00|8.00|
orders    initial   |o_0031|c_008|p_15|3|15.00||2025-12-11|delivered|  no cost any more from batch_002 on
products  batch_002 |p_15|Hose 20 m|garden|15.00||  loses its cost
products  initial   |p_16|Work Gloves|garden|9.00|4.00|
orders    initial   |o_0032|c_008|p_16|2|9.00||2025-12-11|delivered|  no cost any more from batch_003 on
products  batch_003 |p_16|Work Gloves|garden|9.00|abc|  [value unit_cost] so it has none, though it had one

# Returns: a negative quantity is a line of its own, beside the sale of the same order and product
customers initial   |c_009|Uma Nash|uma.nash@example.org|US|2025-03-09|
orders    initial   |o_0033|c_009|p_02|5|50.00||2025-12-05|delivered|
orders    initial   |o_0033|c_009|p_02|-2|50.00||2025-12-12|returned|  two of five, a week later
orders    initial   |o_0034|c_009|p_03|2|12.50||2025-12-15|delivered|
orders    batch_001 |o_0034|c_009|p_03|-2|12.50||2026-01-19|returned|  all of it, in a later batch: no correction
orders    initial   |o_0035|c_009|p_04|4|25.00|20%|2025-12-15|delivered|
orders    initial   |o_0035|c_009|p_04|-2|25.00|20%|2025-12-18|returned|  with its share of the discount: 40.00
orders    initial   |o_0036|c_009|p_04|4|25.00|10.00|2025-12-16|delivered|
orders    initial   |o_0036|c_009|p_04|-1|25.00|2.50|2025-12-16|delivered|  on the day of the sale, as delivered: 22.50
orders    initial   |o_0037|c_009|p_05|3|40.00||2025-12-17|delivered|
orders    initial   |o_0037|c_009|p_05|-1|40.00||2025-12-29|returned|
orders    batch_002 |o_0037|c_009|p_05|-2|40.00||2025-12-29|returned|  corrects the return of that day: two
orders    initial   |o_0038|c_009|p_05|3|40.00||2025-12-18|delivered|
orders    initial   |o_0038|c_009|p_05|-1|40.00||2025-12-30|cancelled|  the return is called off: counts nowhere
orders    batch_001 |o_0039|c_009|p_06|2|15.00|100%|2026-01-19|delivered|
orders    batch_002 |o_0039|c_009|p_06|-2|15.00|100%|2026-01-28|returned|  nothing was paid, nothing is paid back

# Returns: the status says that all of a line was given back
orders    initial   |o_0040|c_008|p_02|2|50.00|10%|2025-12-19|returned|  100.00 less 10.00, all given back
orders    initial   |o_0041|c_008|p_03|1|12.50||2025-12-19|returned|  a whole order,
orders    initial   |o_0041|c_008|p_04|2|25.00|$5|2025-12-19|Returned|  given back

# An order of which all lines are cancelled
orders    initial   |o_0042|c_008|p_05|1|40.00||2025-12-20|cancelled|  the whole order
orders    initial   |o_0042|c_008|p_06|1|15.00|10%|2025-12-20|Cancelled|  counts nowhere

# Optional values that are not valid: the row stays, without them
customers initial   |c_011|Ravi Sato|ravi.sato@example.org|Germany|2025-03-11|  [value country] not two letters
customers initial   |c_012|Tara Jung|tara.jung@example.org|U.S.|2025-03-12|  [value country] u_s: not two letters
customers initial   |c_014|Kai Abe|kai.abe(at)example.org|JP|2025-03-14|  [value email] no @
customers initial   |c_015|Ada Diaz|ada.diaz@example.org|ES|2026-02-30|  [value signup_date] no such day
customers initial   |c_016|Eli Park|eli.park@example.org|KR|03/02/2026|  [value signup_date] March or February?
customers batch_001 |c_017|Gus Ruiz|nobody@|?!|2026-01-20|  [value email, country] two at once
customers batch_002 |c_018|Ivo Moss|ivo@example.org|GB|27.01.2026|  [value signup_date] the day first
products  initial   |p_17|Sundial|garden|60.00|abc|  [value unit_cost] letters
products  initial   |p_18|Hammock|garden|45.00|20.00 EUR|  [value unit_cost] another currency
products  initial   |p_19|Greenhouse|garden|1999,00|1500.00|  [value unit_price] a decimal comma
products  initial   |p_20|Doormat|?!|11.00|4.50|  [value category] only punctuation
products  initial   |p_21|Trellis|garden|1e3|4.50|  [value unit_price] scientific notation
products  batch_001 |p_22|Birdbath|garden|($5.00|12.34567|  [value unit_price, unit_cost] half in parentheses; too exact
products  batch_003 |p_23|Windsock|garden|7.00|3.00.00|  [value unit_cost] two points
orders    initial   |o_0043|c_011|p_17|1|60.00||2025-12-21|delivered|  no cost until p_17 is repaired
orders    initial   |o_0044|c_012|p_18|1|45.00||2025-12-21|delivered|  no cost
orders    initial   |o_0045|c_012|p_19|1|1,999.00||2025-12-21|delivered|  the list price is unknown, this one is not

# Required values that are missing
customers initial   ||Nobody|nobody@example.org|DE|2025-03-10|  [row customer_id] empty
customers batch_001 |null|Nobody|nobody@example.org|DE|2026-01-20|  [row customer_id] a sentinel
products  initial   |None|Lost Label|garden|1.00|0.50|  [row product_id] a sentinel
orders    initial   ||c_006|p_03|1|12.50||2025-12-22|delivered|  [row order_id] empty
orders    initial   |o_0101|N/A|p_03|1|-||2025-12-22|delivered|  [row unit_price] a sentinel; a guest needs no customer
orders    initial   |o_0102|c_006|-|1|12.50||2025-12-22|delivered|  [row product_id] a sentinel
orders    initial   |o_0103|c_006|p_03||12.50||2025-12-22|delivered|  [row quantity] empty
orders    initial   |o_0104|c_006|p_03|1|||2025-12-22|delivered|  [row unit_price] empty
orders    initial   |o_0105|c_006|p_03|1|12.50|||delivered|  [row order_date] empty
orders    initial   |o_0106|c_006|p_03|1|12.50||2025-12-22||  [row status] empty
orders    batch_002 |o_0107|c_006|p_03||12.50||2026-01-27|delivered|  [row quantity] a JSON null
orders    batch_002 |NULL|c_006|null|1|12.50||None|delivered|  [row order_id, product_id, order_date] three at once

# Quantities that are none
orders    initial   |o_0111|c_006|p_03|0|12.50||2025-12-22|delivered|  [row quantity] zero
orders    initial   |o_0112|c_006|p_03|1.5|12.50||2025-12-22|delivered|  [row quantity] no whole number
orders    initial   |o_0113|c_006|p_03|two|12.50||2025-12-22|delivered|  [row quantity] a word
orders    initial   |o_0114|c_006|p_03|5000000000|12.50||2025-12-22|delivered|  [row quantity] too many
orders    initial   |o_0115|c_006|p_03|-1000000001|12.50||2025-12-22|returned|  [row quantity] too many come back
orders    batch_002 |o_0116|c_006|p_03|1.5|12.50||2026-01-27|delivered|  [row quantity] a JSON number, but not whole

# Prices that are none
orders    initial   |o_0121|c_006|p_03|1|abc||2025-12-22|delivered|  [row unit_price] letters
orders    initial   |o_0122|c_006|p_03|1|($5.00||2025-12-22|delivered|  [row unit_price] half in parentheses
orders    initial   |o_0123|c_006|p_03|1|--$5.00||2025-12-22|delivered|  [row unit_price] two signs
orders    initial   |o_0124|c_006|p_03|1|1e3||2025-12-22|delivered|  [row unit_price] scientific notation
orders    initial   |o_0125|c_006|p_03|1|12.34567||2025-12-22|delivered|  [row unit_price] five decimals
orders    initial   |o_0126|c_006|p_03|1|1000000000.01||2025-12-22|delivered|  [row unit_price] too high

# Discounts that are none: their text, or more than the line
orders    initial   |o_0131|c_006|p_03|2|12.50|ten percent|2025-12-22|delivered|  [row discount] words
orders    initial   |o_0132|c_006|p_03|2|12.50|12.345%|2025-12-22|delivered|  [row discount] three decimals
orders    initial   |o_0133|c_006|p_03|2|12.50|25.01|2025-12-22|delivered|  [row discount] a cent more than the line
orders    initial   |o_0134|c_006|p_03|2|12.50|120%|2025-12-22|delivered|  [row discount] more than all of it
orders    initial   |o_0135|c_006|p_03|2|12.50|-5.00|2025-12-22|delivered|  [row discount] negative
orders    initial   |o_0136|c_006|p_03|2|12.50|-10%|2025-12-22|delivered|  [row discount] a negative share
orders    initial   |o_0137|c_006|p_03|-2|12.50|25.01|2025-12-22|returned|  [row discount] more than what comes back
orders    batch_003 |o_0138|c_006|p_03|2|12.50|100.01%|2026-02-03|delivered|  [row discount] a bit more than all of it

# Discounts of lines whose amount is not known: nothing can be said against an amount, but against what is negative
orders    initial   |o_0141|c_006|p_03|two|12.50|$9,999.00|2025-12-22|delivered|  [row quantity] only
orders    initial   |o_0142|c_006|p_03|2|abc|$9,999.00|2025-12-22|delivered|  [row unit_price] only
orders    initial   |o_0143|c_006|p_03|two|12.50|120%|2025-12-22|delivered|  [row quantity, discount] a share is known
orders    initial   |o_0144|c_006|p_03|two|12.50|-5.00|2025-12-22|delivered|  [row quantity, discount] negative anyway
orders    initial   |o_0145|c_006|p_03|0|12.50|5.00|2025-12-22|delivered|  [row quantity, discount] more than nothing

# Dates that are none
orders    initial   |o_0151|c_006|p_03|1|12.50||2026-02-30|delivered|  [row order_date] no such day
orders    initial   |o_0152|c_006|p_03|1|12.50||03/02/2026|delivered|  [row order_date] March or February?
orders    initial   |o_0153|c_006|p_03|1|12.50||05.01.2026|delivered|  [row order_date] the day first
orders    initial   |o_0154|c_006|p_03|1|12.50||2026-13-03|delivered|  [row order_date] no such month
orders    batch_003 |o_0155|c_006|p_03|1|12.50||206-02-03|delivered|  [row order_date] a digit short

# Statuses that are none, and other troubles at once
orders    initial   |o_0161|c_006|p_03|1|12.50||2025-12-22|***|  [row status] no letter
orders    initial   |o_0162|c_006|p_03|1|12.50||2025-12-22|?!|  [row status] only punctuation
orders    initial   |o_0163|c_006|p_03|1|12.50||2026-02-30|?|  [row order_date, status] two at once

# Rejected once, repaired later
orders    initial   |o_0061|c_008|p_04|two|25.00||2026-01-15|delivered|  [row quantity] a word
orders    batch_001 |o_0061|c_008|p_04|2|25.00||2026-01-15|delivered|  repaired
orders    batch_001 |o_0062|c_008|p_06|4|15.00|$75|2026-01-23|delivered|  [row discount] more than the line
orders    batch_003 |o_0062|c_008|p_06|4|15.00|$7.50|2026-01-23|delivered|  repaired
customers batch_002 |c_011|Ravi Sato|ravi.sato@example.org|DE|2025-03-11|  repaired
products  batch_003 |p_17|Sundial|garden|60.00|33.00|  repaired

# Lines that can't be rows
orders    batch_001 |o_0171,c_006,p_03|  [line] five values short
orders    batch_001 |o_0172,c_006,p_03,1,12.50,,2026-01-24,delivered,card,front door|  [line] two values too many
orders    batch_002 |{"order_id": "o_0173", "customer_id": "c_0|  [line] JSON cut off in the middle
"""

# How regular rows are spoiled above scale 1: (column, what stands in it). Duplicates and corrections come on top.
SPOILED = {
    "customers": (("customer_id", ""), ("email", "nobody@"), ("country", "Germany"), ("signup_date", "2025-02-30")),
    "orders": (
        ("order_id", ""), ("product_id", "N/A"), ("customer_id", "c_000"), ("product_id", "p_00"), ("quantity", "0"),
        ("quantity", "two"), ("unit_price", "abc"), ("unit_price", "--5.00"), ("discount", "ten percent"),
        ("discount", "120%"), ("order_date", "2026-02-30"), ("order_date", "03/02/2026"), ("status", "?!"),
    ),
}  # fmt: skip

# ----------------------------------------------------------------------------------------------------------------------
# Regular rows, by rule
# ----------------------------------------------------------------------------------------------------------------------

FIRST_ORDER = 1001  # of regular rows; numbers below are planted

# How much there is at scale 1. Customers and orders grow with the scale; products and the ten weeks stay the same.
ORDERS_BY_WEEK = (38, 46, 60, 44, 30, 36, 38, 40, 42, 46)
CUSTOMERS_BY_BATCH = {"initial": 70, "batch_001": 10, "batch_002": 10}  # in tens: see `customer_of`
BUSY = (2, 2, 2, 3, 3, 4, 3)  # how many of the orders each day of the week draws, against the others
WEEKS_UNTIL_SETTLED = 3  # nothing happens to a line any more when so many weeks have passed

LINES = (1, 1, 2, 2, 2, 3, 3, 4)
QUANTITIES = (1, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4, 6, 10)
PERCENT = ("5%", "10%", "10%", "10 %", "12.5%", "15%", "20%")
AMOUNTS_OFF = (100, 200, 250, 500, 1000)  # in cents

COUNTRIES = "DE DE DE DE AT CH NL NL FR FR GB GB US US PL SE DK IT ES JP"
GIVEN_NAMES = "Ada Ben Cleo Dag Eli Fay Gus Hana Ivo Jun Kai Lea Max Nia Oli Pia Ravi Sol Tara Uma Vera Wim"
FAMILY_NAMES = "Abe Berg Cole Diaz Endo Falk Gray Holm Ito Jung Kaya Lund Moss Nash Park Quist Ruiz Sato Vos"


class Line(NamedTuple):
    """A line of a regular order. Days are counted from FIRST_DAY, as everywhere below."""

    product_id: str
    quantity: int
    price_cents: int
    percent: str  # the discount: one of both, or none
    cents_off: int
    steps: tuple  # (day, status from that day on)
    units_back: int  # returned by a line with a negative quantity
    day_back: int


def customer_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    dice = dice_for("shop", seed, "customers", batch)
    given_names, family_names, countries = GIVEN_NAMES.split(), FAMILY_NAMES.split(), COUNTRIES.split()
    for number in numbers_of(CUSTOMERS_BY_BATCH, batch, scale):
        given, family = pick(given_names, dice), pick(family_names, dice)
        email, country = f"{given}.{family}.{number}@example.org".lower(), pick(countries, dice)
        if dice() < 0.05:
            email = pick((email.upper(), f" {email} ", ""), dice)
        if dice() < 2 * ODD_SPELLINGS:
            country = pick((country.lower(), f" {country} ", ""), dice)
        days_ago = 1 + int(dice() * (600 if batch == "initial" else 4))
        signed_up = FIRST_DAY + datetime.timedelta(days=7 * WEEKS[batch][0] - days_ago)
        yield f"c_{number:03d}", f"{given} {family}", email, country, signed_up.isoformat()


def product_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """The products that are new or have another price or cost."""
    dice = dice_for("shop", seed, "products", batch)
    for product in PRODUCTS:
        for first_batch, price_cents, cost_cents in product.versions:
            if first_batch == batch:
                category, price = spelled_label(product.category, dice), spelled_amount(price_cents, dice)
                yield product.product_id, product.name, category, price, spelled_amount(cost_cents, dice)


def order_rows(batch: str, scale: int, seed: int) -> Iterator[tuple]:
    """The lines that are new, or have another status since the batch before, or are given back."""
    dice = dice_for("shop", seed, "orders", batch)
    first_week, last_week = WEEKS[batch][0], WEEKS[batch][-1]
    first_day, last_day = 7 * first_week, 7 * last_week + 6
    for week in range(max(0, first_week - WEEKS_UNTIL_SETTLED), last_week + 1):
        for number, day in orders_of(week, scale):
            customer, lines = contents_of(number, week, day, scale, seed)
            for line in lines:
                status = status_on(last_day, line)
                if day >= first_day or status != status_on(first_day - 1, line):
                    yield line_row(number, customer, line, line.quantity, day, status, dice)
                if line.units_back and first_day <= line.day_back <= last_day:
                    yield line_row(number, customer, line, -line.units_back, line.day_back, "returned", dice)


def line_row(number: int, customer: int, line: Line, quantity: int, day: int, status: str, dice: Dice) -> tuple:
    cents_off = line.cents_off * abs(quantity) // line.quantity
    return (
        f"o_{number:04d}",
        f"c_{customer:03d}",
        line.product_id,
        str(quantity),
        spelled_amount(line.price_cents, dice),
        spelled_amount(cents_off, dice) if cents_off else line.percent,
        DAYS[day],
        spelled_label(status, dice),
    )


def orders_of(week: int, scale: int) -> Iterator[tuple[int, int]]:
    """(number, day) of each order of a week, in the order of time."""
    days = [7 * week + weekday for weekday, share in enumerate(BUSY) for _ in range(share)]
    open_days = [day for day in days if day not in CLOSED]
    first, count = FIRST_ORDER + sum(ORDERS_BY_WEEK[:week]) * scale, ORDERS_BY_WEEK[week] * scale
    for i in range(count):
        yield first + i, open_days[i * len(open_days) // count]


def contents_of(number: int, week: int, day: int, scale: int, seed: int) -> tuple[int, list[Line]]:
    """The customer and the lines of an order: the same in each batch that has something to tell of it."""
    dice = dice_for("shop", seed, "order", number)
    batch = next(batch for batch, weeks in WEEKS.items() if week in weeks)
    customer = customer_of(number, known_until(CUSTOMERS_BY_BATCH, batch) * scale, dice)
    chosen = [main_product(number)]
    for _ in range(pick(LINES, dice) - 1):
        product = pick(ON_SALE[batch], dice)
        if product not in chosen:
            chosen.append(product)
    day_delivered = day + 2 + int(3 * dice())
    return customer, [line_of(product, batch, day, day_delivered, dice) for product in chosen]


def line_of(product: Product, batch: str, day: int, day_delivered: int, dice: Dice) -> Line:
    price_cents = PRICES[batch][product]
    quantity = 20 + int(dice() * 40) if dice() < 0.01 else pick(QUANTITIES, dice)
    kind, percent, cents_off = dice(), "", 0
    if kind < 0.08:
        percent = pick(PERCENT, dice)
    elif kind < 0.16:
        cents_off = min(pick(AMOUNTS_OFF, dice), quantity * price_cents // 2)
    kind, units_back, day_back = dice(), 0, 0
    steps = ((day, "placed"), (day + 1, "shipped"), (day_delivered, "delivered"))
    if kind < 0.05:
        steps = ((day, "placed"), (day + int(3 * dice()), "cancelled"))
    elif kind < 0.10:
        steps = (*steps, (day + 7 + int(10 * dice()), "returned"))
    elif kind < 0.14:
        units_back, day_back = 1 + int(dice() * quantity), day + 7 + int(12 * dice())
        while day_back in CLOSED:
            day_back += 1
    return Line(product.product_id, quantity, price_cents, percent, cents_off, steps, units_back, day_back)


def status_on(day: int, line: Line) -> str:
    """What has become of a line by the end of a day; empty before it is ordered."""
    return next((status for since, status in reversed(line.steps) if since <= day), "")


def main_product(number: int) -> Product:
    """What the first line of an order is about: by its number alone, so that a correction can name an earlier line."""
    products = ON_SALE["initial"]
    return products[37 * number % len(products)]


def customer_of(number: int, known: int, dice: Dice) -> int:
    """Of each ten customers, one orders often, four now and then, and five once: each tenth order is of one of them.

    There are a few more of those than such orders, so the last ones never order.
    """
    place = number - FIRST_ORDER
    if place % 10 == 9:
        ten, within = place // 50, 5 + place // 10 % 5
    else:
        ten, within = int(dice() * (known // 10)), 0 if dice() < 0.45 else 1 + int(4 * dice())
    return FIRST_NUMBER + 10 * ten + within


def under_earlier_key(row: tuple, columns: tuple, dice: Dice) -> tuple:
    """A correction of an earlier row: another row under its key, and of a line always a sale."""
    first = FIRST_ORDER if "product_id" in columns else FIRST_NUMBER
    earlier = first + int(dice() * (int(row[0][2:]) - first))
    if "product_id" not in columns:
        return f"c_{earlier:03d}", *row[1:]
    _, customer_id, _, quantity, *others = row
    return f"o_{earlier:04d}", customer_id, main_product(earlier).product_id, quantity.lstrip("-"), *others


def prices_in(batch: str) -> dict[Product, int]:
    """The price in cents of each product that there is in a batch."""
    batches = list(WEEKS)
    return {
        product: price_cents
        for product in PRODUCTS
        for first_batch, price_cents, _ in product.versions
        if batches.index(first_batch) <= batches.index(batch)
    }


PRICES = {batch: prices_in(batch) for batch in WEEKS}
# The products of each batch, each as often as it is popular.
ON_SALE = {batch: [product for product in PRICES[batch] for _ in range(product.popularity)] for batch in WEEKS}

# The stories that regular rows tell at every scale.
#
# Lines that are under way when a batch ends come again in the next one, with what has become of them.
# Lines that are returned in part come again with a negative quantity, one to three weeks after they were ordered.
# Nobody orders anything on 2025-12-25, 2025-12-26, 2026-01-01 and 2026-01-02, and nothing comes back.
# A few customers never order; p_55 is never sold; p_56 has no category; p_54 comes in batch_001.
# p_33, p_40, p_42, p_43, p_47 and p_52 get new prices or costs. p_53 sells below its cost from batch_002 on.

FEED = Feed(
    name="shop",
    grows="orders and customers; scale 1 has 420 orders, which is about 900 lines",
    columns=COLUMNS,
    files=FILES,
    reordered={"customers": REORDERED_CUSTOMERS},
    numbers=("quantity", "unit_price", "unit_cost"),
    planted=PLANTED,
    rows={"customers": customer_rows, "products": product_rows, "orders": order_rows},
    spoiled=SPOILED,
    corrected=under_earlier_key,
)
