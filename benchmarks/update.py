#!/usr/bin/env python3
"""Compare bin/update without anything new, and with one new batch, with an update of everything.

usage: .venv/bin/python benchmarks/update.py [--repetitions N] [--directory D]

The warehouse is that of the sample data. In turns: an update of everything (--force), one without anything new,
`dbt --version`, which is the time that dbt's start takes, and one after a new file of 100 orders.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from bench import ROOT, Database, print_measurement, print_ratio, private_server, say

ORDERS = 100


def main() -> None:
    """Measure all of them, in turns, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--directory", help="where the temporary server's data goes (default: the system's)")
    options = parser.parse_args()
    with private_server(options.directory) as server:
        database, data = server.database("updates"), server.scratch / "data"
        shutil.copytree(ROOT / "data", data)
        say("loading and building")
        database.run("bin/ingest", "--data-dir", data)
        database.run("bin/update")
        seconds: dict[str, list[float]] = {}
        for repetition in range(options.repetitions):
            deliver(database, data, repetition)
            ways = {
                "a new batch": lambda: database.run("bin/update"),
                "everything": lambda: database.run("bin/update", "--force"),
                "nothing new": lambda: database.run("bin/update"),
                "dbt --version": lambda: database.run("bin/dbt", "--version"),
            }
            for way, run in ways.items():
                seconds.setdefault(way, []).append(timed(run))
            say(", ".join(f"{way} {measured[-1]:.1f} s" for way, measured in seconds.items()))
    print()
    middle = {way: statistics.median(measured) for way, measured in seconds.items()}
    for way, measured in seconds.items():
        print_measurement(way, measured, "s")
    print_ratio("nothing new / dbt --version", middle["nothing new"] / middle["dbt --version"], "at most 1.5")
    print_ratio("a new batch / everything", middle["a new batch"] / middle["everything"], "at most 0.33")


def deliver(database: Database, data: Path, repetition: int) -> None:
    """Load a file of orders that nobody has placed before."""
    sample = (data / "initial" / "tickets" / "orders.csv").read_text().splitlines()
    header, first = sample[0], sample[2].split(",")
    lines = [",".join([f"b_{repetition}_{number}", *first[1:]]) for number in range(ORDERS)]
    file = data / "incremental" / "tickets" / "orders" / f"batch_9{repetition:02}.csv"
    file.write_text("\n".join([header, *lines, ""]))
    database.run("bin/ingest", "--data-dir", data)


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
