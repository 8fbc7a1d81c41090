#!/usr/bin/env python3
"""Measure the API with 16 clients against the query that it sends to the database.

usage: .venv/bin/python benchmarks/api.py [PATH] [--clients N] [--seconds S] [--repetitions N] [--workers N]
           [--directory D]

The files in data/ are loaded and built, and bin/api serves the marts. Clients, each with a connection that it keeps,
send requests for a page of one path as fast as they are answered, in three ways, in turns: through the API; through the
API with the tag of an answer that still holds (304); and the same select from PostgreSQL, by psycopg2. Clients, API and
PostgreSQL share the machine.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import json
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator

import psycopg2
from bench import ROOT, Database, print_measurement, print_ratio, private_server, say


def main() -> None:
    """Measure all ways, in turns, and print the ratios."""
    options = parse_arguments()
    with private_server(options.directory) as server:
        database = server.database("api")
        say("loading and building")
        database.run("bin/ingest")
        database.run("bin/dbt", "--quiet", "build", "--exclude-resource-type", "test", "unit_test")
        database.run("bin/warehouse", "roles")
        token = database.run("bin/api-token", "create", "--name", "benchmark", "--rate", "1000000/second").strip()
        with serving(database, options.workers) as port:
            path = choose_path(port, options.path)
            query = query_of(port, path, token)
            ways = {
                "API, 200": lambda: requests(port, path, token, {}, 200),
                "API, 304": lambda: requests(port, path, token, {"If-None-Match": "*"}, 304),
                "select": lambda: queries(database, query),
            }
            speeds: dict[str, list[float]] = {way: [] for way in ways}
            slowest: dict[str, list[float]] = {way: [] for way in ways}
            for repetition in range(options.repetitions):
                for way, open_client in ways.items():
                    times = ask(open_client, options.clients, options.seconds)
                    speeds[way].append(len(times) / options.seconds)
                    slowest[way].append(statistics.quantiles(times, n=100)[-1] * 1000)
                speed = ", ".join(f"{way} {measured[-1]:,.0f}" for way, measured in speeds.items())
                say(f"repetition {repetition + 1}, answers a second: {speed}")

    print(f"\n{options.clients} clients, {options.workers} workers, {path}")
    for way in ways:
        print_measurement(way, speeds[way], "answers/s")
        print_measurement(f"{way}, p99", slowest[way], "ms")
    middle = {way: statistics.median(measured) for way, measured in speeds.items()}
    print_ratio("API / select, answers a second", middle["API, 200"] / middle["select"], "as large as it may be")
    print_ratio("304 / 200, answers a second", middle["API, 304"] / middle["API, 200"], "at least 1")


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="of the API (default: the first one that it lists)")
    parser.add_argument("--clients", type=int, default=16, help="default: 16")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="of bin/api (default: 2)")
    parser.add_argument("--directory", help="where the temporary server's data goes (default: the system's)")
    return parser.parse_args()


@contextlib.contextmanager
def serving(database: Database, workers: int) -> Iterator[int]:
    """Run bin/api on a free port, and give the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(ROOT / "bin" / "api"), "--port", str(port), "--workers", str(workers)]
    with subprocess.Popen(command, env=database.environment(), stderr=subprocess.DEVNULL) as process:
        try:
            while not answers(port):
                if process.poll() is not None:
                    sys.exit("error: bin/api did not start")
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def answers(port: int) -> bool:
    """Return whether a server listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def choose_path(port: int, path: str | None) -> str:
    """Return the path to measure. Exits if the API doesn't serve it."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
        built = [each["path"].rpartition("/")[2] for each in json.load(answer)["endpoints"] if each["is_built"]]
    if not built or path not in (None, *built):
        sys.exit(f"error: unknown path {path}: the API serves {', '.join(built) or 'no mart'}")
    return path or built[0]


def query_of(port: int, path: str, token: str) -> str:
    """Return the select of a page of a path, in the order of its first column."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/{path}")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:
        page = json.load(answer)
    if not page["data"]:
        sys.exit(f"error: {path} has no rows")
    columns = ", ".join(f'"{name}"' for name in page["data"][0])
    rows = f'select {columns} from marts."{page["meta"]["mart"]}" order by 1 desc limit 101'
    return f"select cast(row_to_json(page.*) as text) from ({rows}) as page"


def ask(open_client: Callable[[], contextlib.AbstractContextManager], clients: int, seconds: float) -> list[float]:
    """Let all clients send requests for some seconds, without a pause; return the seconds that each answer took."""

    def one() -> list[float]:
        times = []
        with open_client() as call:
            while (begun := time.perf_counter()) < end:
                call()
                times.append(time.perf_counter() - begun)
        return times

    end = time.perf_counter() + seconds
    with concurrent.futures.ThreadPoolExecutor(clients) as threads:
        running = [threads.submit(one) for _ in range(clients)]
        return [seconds for future in running for seconds in future.result()]


@contextlib.contextmanager
def requests(port: int, path: str, token: str, headers: dict[str, str], status: int) -> Iterator[Callable[[], None]]:
    """Give a function that sends a request on one connection; exit if the answer has another status."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:

        def call() -> None:
            connection.request("GET", f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"} | headers)
            answer = connection.getresponse()
            if answer.status != status or (status == 200) != bool(answer.read()):
                raise SystemExit(f"error: {answer.status} and not {status}")

        yield call


@contextlib.contextmanager
def queries(database: Database, query: str) -> Iterator[Callable[[], None]]:
    """Give a function that runs the query on one connection."""
    with (
        contextlib.closing(
            psycopg2.connect(host=database.variables["PGHOST"], user="granary_api", dbname=database.name)
        ) as connection,
        connection.cursor() as cursor,
    ):
        connection.autocommit = True

        def call() -> None:
            cursor.execute(query)
            cursor.fetchall()

        yield call


if __name__ == "__main__":
    main()
