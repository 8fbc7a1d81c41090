#!/usr/bin/env python3
"""Build the same history on PostgreSQL and on a Spark of one machine, with one core and with two, and a batch after it.

usage: .venv/bin/python benchmarks/spark.py [--orders N [N ...]] [--cores N [N ...]] [--directory D]

The history is that of incremental.py. What Spark shuffles and spills is read from its own log of events.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from bench import ROOT, Database, print_ratio, private_server, say
from incremental import ORDERS, deliver

FEED = ("--select", "group:tickets", "tag:ledger", "--exclude-resource-type", "test", "unit_test")


@dataclass
class Run:
    """What a build took. Memory is that of all its processes; both it and bytes are in MB."""

    seconds: float = 0
    memory: float = 0
    totals: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure each size, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, nargs="+", default=[1_000_000], help="(default: a million)")
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 2], help="of Spark (default: 1 and 2)")
    parser.add_argument(
        "--only-spark", action="store_true", help="don't build on PostgreSQL, which takes its time, too"
    )
    parser.add_argument("--directory", help="where all temporary data goes (default: the system's)")
    options = parser.parse_args()
    with private_server(options.directory) as server:
        for orders in options.orders:
            database, weeks = server.database(f"spark_{orders}"), orders // ORDERS
            say(f"{orders:,} orders: delivering them")
            database.prepare()
            deliver(database, 0, weeks)
            database.settle()
            lake = database.scratch / f"lake_{orders}"
            measure_lake(database, lake)
            postgres = Run() if options.only_spark else build(database, {})
            if postgres.seconds:
                report(f"{orders:,} orders, PostgreSQL", orders, postgres)
            folders = {cores: database.scratch / f"tables_{orders}_{cores}" for cores in options.cores}
            full = {}
            for cores, folder in folders.items():
                full[cores] = build_on_spark(database, lake, folder, cores)
                report(f"{orders:,} orders, local[{cores}]", orders, full[cores])
                if postgres.seconds:
                    print_ratio(f"local[{cores}] / PostgreSQL", full[cores].seconds / postgres.seconds, "none")
            deliver(database, weeks, weeks + 1)
            measure_lake(database, lake)
            if postgres.seconds:
                report(f"a batch of {ORDERS:,} after them, PostgreSQL", ORDERS, build(database, {}))
            for cores, folder in folders.items():
                batch = build_on_spark(database, lake, folder, cores)
                report(f"a batch of {ORDERS:,} after them, local[{cores}]", ORDERS, batch)
                print_ratio(f"local[{cores}], a batch / the history", batch.seconds / full[cores].seconds, "none")
                shutil.rmtree(folder)


def measure_lake(database: Database, lake: Path) -> None:
    """Export what is new, and print what the command says."""
    say(run(database, {"GRANARY_LAKE": str(lake)}, "bin/lake")[1].strip())


def build_on_spark(database: Database, lake: Path, folder: Path, cores: int) -> Run:
    """Build the feed with so many cores."""
    events = database.scratch / "events"
    events.mkdir(exist_ok=True)
    settings = {
        "GRANARY_ENGINE": "spark",
        "GRANARY_LAKE": str(lake),
        "GRANARY_SPARK": str(folder),
        "DBT_TARGET_PATH": str(database.scratch / "target_of_spark"),
        "MASTER": f"local[{cores}]",
        "SPARK_SUBMIT_OPTS": (
            f"-Dspark.eventLog.enabled=true -Dspark.eventLog.compress=false -Dspark.eventLog.dir={events.as_uri()}"
        ),
    }
    made = build(database, settings)
    made.totals = totals_of(events)
    shutil.rmtree(events)
    return made


def build(database: Database, settings: dict[str, str]) -> Run:
    """Build the feed."""
    return run(database, settings, "bin/dbt", "build", *FEED)[0]


def run(database: Database, settings: dict[str, str], *command: str) -> tuple[Run, str]:
    """Run a command of the project; return what it took, and what it prints. Ends where it fails."""
    begun, made = time.perf_counter(), Run()
    program = [ROOT / command[0], *command[1:]]
    environment = database.environment() | settings
    with subprocess.Popen(program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as one:
        watched = threading.Thread(target=watch, args=(one, made), daemon=True)
        watched.start()
        said = one.stdout.read()
    made.seconds = time.perf_counter() - begun
    watched.join()
    if one.returncode:
        sys.exit(f"error: {' '.join(command)} failed:\n{said}")
    return made, said


def watch(running: subprocess.Popen, made: Run) -> None:
    """Keep the largest memory of a process and its children, looking twice a second, until it ends."""
    process = psutil.Process(running.pid)
    while running.poll() is None:
        try:
            size = sum(each.memory_info().rss for each in (process, *process.children(recursive=True)))
            made.memory = max(made.memory, size / 1e6)
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.5)


def totals_of(events: Path) -> dict[str, float]:
    """Return what the tasks of Spark's log have read, shuffled and spilled, in MB, and how many there were."""
    found = dict.fromkeys(("tasks", "read", "shuffled", "spilled"), 0.0)
    for path in (path for path in events.rglob("*") if path.is_file()):
        for line in path.open():
            if '"SparkListenerTaskEnd"' in line and (metrics := json.loads(line).get("Task Metrics")):
                found["tasks"] += 1
                found["read"] += metrics["Input Metrics"]["Bytes Read"] / 1e6
                found["shuffled"] += metrics["Shuffle Write Metrics"]["Shuffle Bytes Written"] / 1e6
                found["spilled"] += metrics["Disk Bytes Spilled"] / 1e6
    return found


def report(name: str, orders: int, made: Run) -> None:
    """Print what a build took."""
    rates = f"{made.seconds:.0f} s, {orders / made.seconds:,.0f} orders/s, {made.memory:,.0f} MB"
    parts = "".join(
        f", {count:,.0f} {'tasks' if what == 'tasks' else f'MB {what}'}" for what, count in made.totals.items()
    )
    say(f"{name}: {rates}{parts}")


if __name__ == "__main__":
    main()
