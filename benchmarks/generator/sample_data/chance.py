"""Chance that is the same everywhere, and what it does to values: odd spellings, and spoiled rows above scale 1."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

Dice = Callable[[], float]
Corrected = Callable[[tuple, tuple, Dice], tuple]  # (row, columns, dice) to another row

ODD_SPELLINGS = 0.06  # of regular values: sound, but not in the usual form
SPOILED_ROWS = 0.002  # of regular rows above scale 1

MINUTES = [f"{hour:02d}:{minute:02d}" for hour in range(24) for minute in range(60)]
SECONDS = [f":{second:02d}" for second in range(60)]


def dice_for(*names) -> Dice:
    """A sequence of random numbers in [0, 1) for these names. Only `random()` stays the same across Python versions."""
    return random.Random("/".join(map(str, names))).random


def pick(choices, dice: Dice):
    return choices[int(dice() * len(choices))]


def spelled_time(day: str, second: int, dice: Dice) -> str:
    clock = MINUTES[second // 60]
    if dice() >= ODD_SPELLINGS:
        return f"{day}T{clock}{SECONDS[second % 60]}Z"
    spellings = [day, f"{day} {clock}", f"{day} {clock}:07", f"{day}T{clock}:07.250Z", f" {day}T{clock}:07Z "]
    if 2 * 3600 <= second < 18 * 3600:  # so that the offset leaves the day, and the ten weeks, as they are
        spellings += [f"{day}T{clock}:07+01:00", f"{day}T{clock}-05:00"]
    return pick(spellings, dice)


def spelled_amount(cents: int, dice: Dice) -> str:
    dollars, sign = f"{abs(cents) // 100}.{abs(cents) % 100:02d}", "-" if cents < 0 else ""
    if dice() >= ODD_SPELLINGS:
        return sign + dollars
    with_commas = f"{abs(cents) // 100:,}.{abs(cents) % 100:02d}"
    if cents < 0:
        return pick((f"({dollars})", f"-${with_commas}", f"(${with_commas})"), dice)
    return pick((f"${dollars}", with_commas, f"${with_commas}", f" {dollars} "), dice)


def spelled_label(label: str, dice: Dice) -> str:
    if dice() < 0.8:
        return label
    return pick((label.upper(), label.replace("_", " ").title(), label.replace("_", "-"), f" {label} "), dice)


def spoil(rows: Iterator[tuple], columns: tuple, spoiled: tuple, corrected: Corrected, dice: Dice) -> Iterator[tuple]:
    """Let most rows pass; repeat some, let a correction follow some, and spoil a value of some."""
    for row in rows:
        if dice() >= SPOILED_ROWS:
            yield row
            continue
        kind = pick(("duplicate", "correction", *spoiled), dice)
        if kind == "duplicate":
            yield row
            yield row
        elif kind == "correction":
            yield row
            yield corrected(row, columns, dice)
        else:
            column, value = kind
            place = columns.index(column)
            yield *row[:place], value, *row[place + 1 :]
