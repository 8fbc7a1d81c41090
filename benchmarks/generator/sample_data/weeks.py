"""The ten weeks in which feeds tell what people did, how batches share them, and how their regular rows are numbered.

The weeks go from Monday 2025-12-01 to Sunday 2026-02-08. The initial load has the first seven, then each batch has one.
"""

from __future__ import annotations

import datetime
import re

from sample_data.chance import Dice, spelled_time

FIRST_DAY = datetime.date(2025, 12, 1)
WEEKS = {
    "initial": range(7),  # until 2026-01-18
    "batch_001": range(7, 8),  # 2026-01-19 to 2026-01-25
    "batch_002": range(8, 9),  # 2026-01-26 to 2026-02-01
    "batch_003": range(9, 10),  # 2026-02-02 to 2026-02-08
}
FIRST_NUMBER = 101  # of regular rows; numbers below are planted

DAYS = [(FIRST_DAY + datetime.timedelta(days=day)).isoformat() for day in range(120)]
WEEK_SECONDS = 7 * 24 * 3600


def numbers_of(by_batch: dict[str, int], batch: str, scale: int) -> range:
    """The numbers of the rows that a batch brings, where earlier batches brought those before."""
    until = FIRST_NUMBER + known_until(by_batch, batch) * scale
    return range(until - by_batch[batch] * scale, until)


def known_until(by_batch: dict[str, int], batch: str) -> int:
    """How many rows there are at scale 1, up to and with a batch."""
    batches = list(WEEKS)
    return sum(count for name, count in by_batch.items() if batches.index(name) <= batches.index(batch))


def time_at(seconds: int, dice: Dice) -> str:
    """A timestamp, `seconds` after FIRST_DAY, now and then in another spelling that ISO 8601 allows."""
    return spelled_time(DAYS[seconds // 86400], seconds % 86400, dice)


def under_earlier_key(row: tuple, columns: tuple, dice: Dice) -> tuple:
    """A correction of an earlier row: another row under its key."""
    letter, digits, rest = re.fullmatch(r"(\w_)(\d+)(.*)", row[0]).groups()
    earlier = FIRST_NUMBER + int(dice() * (int(digits) - FIRST_NUMBER))
    return f"{letter}{earlier:0{len(digits)}d}{rest}", *row[1:]
