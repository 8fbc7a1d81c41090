"""What the sample data of a feed is made of: its files, its planted rows, and the rules of its regular rows.

Planted rows are a table, one line each: entity, batch, |what stands in the file| and why it is there. A line that
begins with # names the story that the next lines tell. [brackets] tell what the warehouse must reject:

    [line]          the loader rejects the line, which can't be a row (the text between the bars is the whole line)
    [row column]    staging rejects the row, for what stands in a required column, or is missing there
    [value column]  staging rejects the value of an optional column, and keeps the row with null in its place

All others are kept.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from sample_data.chance import Corrected

Rule = Callable[[str, int, int], Iterator[tuple]]  # (batch, scale, seed) to rows; pure: the same again, the same rows


def by_position(entity: str, batch: str, text: str) -> tuple:
    """The values of a planted row whose text has all of them, in the order of the columns."""
    return tuple(text.split("|"))


class Dialect(NamedTuple):
    """How CSV is written."""

    delimiter: str = ","
    encoding: str = "utf-8"


class Feed(NamedTuple):
    name: str
    grows: str  # what --scale multiplies
    columns: dict[str, tuple]  # by entity
    files: tuple  # (entity, batch, extension, quirk) of each delivery
    reordered: dict[str, tuple]  # the header of an entity's deliveries with the quirk `reordered`
    numbers: tuple  # columns that JSON has as numbers
    planted: str  # a table as above
    rows: dict[str, Rule]  # by entity: its regular rows, in the order of its columns
    spoiled: dict[str, tuple]  # by entity: (column, what stands in it) of rows that are spoiled above scale 1
    corrected: Corrected  # makes a regular row into a correction, above scale 1
    dialects: dict[str, Dialect] = {}  # noqa: RUF012  # by entity: how its CSV is written; nobody changes the default
    planted_values: Callable[[str, str, str], tuple] = by_position  # (entity, batch, text) to the values of a row


class Planted(NamedTuple):
    """One planted row: where it stands, and what the warehouse must make of it."""

    story: str
    entity: str
    batch: str
    text: str  # as in the table, between the bars
    values: tuple  # in the order of the columns; none for a line that can't be a row
    fate: str  # "kept", "line", "row <columns>" or "value <columns>"
    why: str
    path: str  # relative to the data root
    line: int  # in that file, counted from 1


def planted_rows(feed: Feed) -> list[Planted]:
    """The planted rows of a feed, in the order of its table. Raises ValueError for a line that is not a planted row."""
    files = {(entity, batch): extension for entity, batch, extension, _ in feed.files}
    next_line = {key: 1 if ".jsonl" in extension else 2 for key, extension in files.items()}  # below the header or [
    planted, story = [], ""
    for entry in filter(None, feed.planted.splitlines()):
        match = re.fullmatch(r"(\w+) +(\w+) +\|(.*)\| *(?:\[([^]]+)\])? *(.*)", entry)
        if entry.startswith("# "):
            story = entry[2:]
        elif match and match.group(1, 2) in files:
            entity, batch, text, fate, why = match.groups()
            values = () if fate == "line" else feed.planted_values(entity, batch, text)
            path = landing_path(feed.name, entity, batch, files[entity, batch])
            line = next_line[entity, batch]
            next_line[entity, batch] += 1
            planted.append(Planted(story, entity, batch, text, values, fate or "kept", why, path, line))
        else:
            raise ValueError(f"not a planted row: {entry}")
    return planted


def landing_path(feed: str, entity: str, batch: str, extension: str) -> str:
    """Where a delivery lands, relative to the data root."""
    if batch == "initial":
        return f"initial/{feed}/{entity}{extension}"
    return f"incremental/{feed}/{entity}/{batch}{extension}"


def planted_table(feeds: Iterable[Feed]) -> Iterator[tuple[str, ...]]:
    """Yield the lines of planted.csv: what becomes of each planted row, and why; one for each column to blame."""
    yield "file", "line", "column", "outcome", "story", "why"
    for row in (row for feed in feeds for row in planted_rows(feed)):
        fate, _, columns = row.fate.partition(" ")
        outcome = fate if fate == "kept" else f"{fate} rejected"
        for column in columns.split(", "):
            in_raw = re.sub("(?<=[a-z])(?=[A-Z])", "_", column).lower()  # as the raw table calls it
            yield row.path, str(row.line), in_raw, outcome, row.story, row.why
