#!/usr/bin/env python3
"""Write sample data for a feed: believable, messy, and the same bytes for the same arguments everywhere.

    generate_data.py                                      the data that is committed under data/
    generate_data.py --feed NAME --scale 1000 --out /tmp/big        a thousand times as much of one feed

A feed's sample data has two parts. Both are in its module, sample_data/<feed>.py.

1. Regular rows, made by rule from random numbers, as many as --scale asks for. Some may be spelled oddly (a `$`, a
   missing `Z`, capitals), but all of them are sound at scale 1. Above scale 1, about one in 500 is also spoiled:
   duplicated, corrected, unparseable, without its key, or pointing at something that never arrives.
2. Planted rows, the same at every scale: one for each kind of mess that the warehouse promises to handle. They are
   listed by hand, story by story, and stand at the top of their files, above the regular rows. planted.csv says where
   each of them is, what becomes of it, and why.

The same arguments give the same bytes on every platform and Python version: of the random module only `random()` is
used, whose sequence Python promises to keep, dates are fixed, and no arithmetic is left to the platform's libraries.
Memory does not grow with the scale: every row is written as it is made.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import pkgutil
import sys
from pathlib import Path

import sample_data
from sample_data import feed as feeds
from sample_data.chance import dice_for, spoil
from sample_data.feed import Dialect, Feed, Planted, landing_path
from sample_data.files import rows_of, whole_file

ROOT = Path(__file__).resolve().parents[2]
DEFAULT_SEED = 7
MODULES = [importlib.import_module(f"sample_data.{found.name}") for found in pkgutil.iter_modules(sample_data.__path__)]
FEEDS: dict[str, Feed] = {module.FEED.name: module.FEED for module in MODULES if hasattr(module, "FEED")}


def planted_rows(name: str) -> list[Planted]:
    """The planted rows of a feed, in the order of its table."""
    return feeds.planted_rows(FEEDS[name])


def write_feed(name: str, scale: int, seed: int, out: Path) -> list[Path]:
    """Write a feed's deliveries below `out` and return their paths. Other files there are left alone.

    Raises OSError where a file can't be written.
    """
    feed = FEEDS[name]
    planted = planted_rows(name)
    written = []
    for entity, batch, extension, quirk in feed.files:
        path = out / landing_path(name, entity, batch, extension)
        columns = feed.columns[entity]
        header = feed.reordered[entity] if "reordered" in quirk else columns
        regular = feed.rows[entity](batch, scale, seed)
        if scale > 1 and entity in feed.spoiled:
            dice = dice_for(name, seed, "spoil", entity, batch)
            regular = spoil(regular, columns, feed.spoiled[entity], feed.corrected, dice)
        dialect = feed.dialects.get(entity, Dialect())
        with rows_of(path, columns, header, quirk, feed.numbers, *dialect) as rows:
            for row in planted:
                if (row.entity, row.batch) != (entity, batch):
                    continue
                if row.fate == "line":
                    rows.line(row.text)
                else:
                    rows.write(row.values)
            write = rows.write
            for row in regular:
                write(row)
        written.append(path)
    return written


def write_planted(path: Path) -> None:
    """Write the table of the planted rows of all feeds. Raises OSError if it can't be written."""
    with whole_file(path) as file:
        csv.writer(file, lineterminator="\n").writerows(feeds.planted_table(FEEDS.values()))


def scale_number(text: str) -> int:
    """A whole number from 1. Raises argparse.ArgumentTypeError for any other text."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def main(arguments: list[str] | None = None) -> int:
    grows = "".join(f"\n  {feed.name}: {feed.grows}" for feed in FEEDS.values())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"what --scale multiplies:{grows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--feed", choices=FEEDS, help="default: all of them, and planted.csv")
    parser.add_argument("--scale", type=scale_number, default=1, help="default 1: what is committed")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help=f"default {DEFAULT_SEED}")
    parser.add_argument("--out", type=Path, default=ROOT / "data", help="the data root to write to (default data/)")
    options = parser.parse_args(arguments)
    try:
        for name in [options.feed] if options.feed else FEEDS:
            written = write_feed(name, options.scale, options.seed, options.out)
            size = sum(path.stat().st_size for path in written)
            print(f"{name}: {len(written)} files, {size:,} bytes, under {options.out}")
        if not options.feed:
            write_planted(options.out / "planted.csv")
    except OSError as error:
        place = error.filename or options.out
        print(f"error: can't write {place}: {error.strerror}; choose another directory with --out", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
