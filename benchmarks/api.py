#!/usr/bin/env python3
"""Measure the API with 16 clients against the query that it sends to the database.

usage: .venv/bin/python benchmarks/api.py [PATH] [--clients N] [--processes N] [--seconds S] [--repetitions N]
           [--workers N] [--directory D]

The files in data/ are loaded and built, and bin/api serves the marts. Clients, each with a connection that it keeps,
send requests for a page of one path as fast as they are answered, in three ways, in turns: through the API; through the
API with the tag of an answer that still holds (304); and the same select from PostgreSQL, by psycopg2. Then one client
does the same alone. Clients, API and PostgreSQL share the machine.

The clients of a process take turns in one loop, without threads: what is measured is the wait for the API, not for
Python. Both sides have the same loop.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import selectors
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Protocol

import psycopg2
import psycopg2.extensions
import psycopg2.extras
from bench import ROOT, Database, print_measurement, print_ratio, private_server, say

WARM_UP_SECONDS = 1  # connections are opened, and plans made, before anything counts


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
                "API, 200": functools.partial(HttpClient, port, request_of(path, token), 200),
                "API, 304": functools.partial(HttpClient, port, request_of(path, token, "If-None-Match: *"), 304),
                "select": functools.partial(SqlClient, database, query),
            }
            many, one = Figures(ways), Figures(ways)
            for repetition in range(options.repetitions):
                for way, open_client in ways.items():
                    many.measure(way, open_client, options.clients, options.processes, options.seconds)
                    one.measure(way, open_client, 1, 1, options.seconds / 2)
                speeds = ", ".join(f"{way} {measured[-1]:,.0f}" for way, measured in many.speeds.items())
                say(f"repetition {repetition + 1}, answers a second: {speeds}")

    print(f"\n{path}, {options.workers} workers")
    for figures, clients in ((many, options.clients), (one, 1)):
        print(f"clients: {clients}")
        for way in ways:
            print_measurement(way, figures.speeds[way], "answers/s")
            print_measurement(f"{way}, median", figures.medians[way], "ms")
            print_measurement(f"{way}, p99", figures.slowest[way], "ms")
    speed, slowest, alone = map(middle, (many.speeds, many.slowest, one.medians))
    print_ratio("API, answers a second", speed["API, 200"], "at least 900", digits=0)
    print_ratio("API / select, answers a second", speed["API, 200"] / speed["select"], "as large as it may be")
    print_ratio("304 / 200, answers a second", speed["API, 304"] / speed["API, 200"], "at least 2")
    print_ratio("API / select, p99", slowest["API, 200"] / slowest["select"], "at most 3")
    print_ratio("API, median of one client, ms", alone["API, 200"], "less than 2")


class Figures:
    """Measurements by way: answers a second; median and p99 of what an answer takes, in milliseconds."""

    def __init__(self, ways: dict[str, Callable[[], Client]]) -> None:
        self.speeds: dict[str, list[float]] = {way: [] for way in ways}
        self.medians: dict[str, list[float]] = {way: [] for way in ways}
        self.slowest: dict[str, list[float]] = {way: [] for way in ways}

    def measure(
        self, way: str, open_client: Callable[[], Client], clients: int, processes: int, seconds: float
    ) -> None:
        """Measure one way once."""
        times = ask(open_client, clients, processes, seconds)
        parts = statistics.quantiles(times, n=100)
        self.speeds[way].append(len(times) / seconds)
        self.medians[way].append(parts[49] * 1000)
        self.slowest[way].append(parts[98] * 1000)


def middle(measured: dict[str, list[float]]) -> dict[str, float]:
    """Return the median of each way's measurements."""
    return {way: statistics.median(values) for way, values in measured.items()}


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", nargs="?", help="of the API (default: the first one that it lists)")
    parser.add_argument("--clients", type=int, default=16, help="default: 16")
    parser.add_argument("--processes", type=int, default=2, help="that the clients are spread over (default: 2)")
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement (default: 5)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="of bin/api (default: 2)")
    parser.add_argument("--directory", help="where the temporary server's data goes (default: the system's)")
    options = parser.parse_args()
    if options.clients % options.processes:
        parser.error("--clients must be a multiple of --processes")
    return options


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


# -- Clients -----------------------------------------------------------------------------------------------------------


class Client(Protocol):
    """A connection. `receive` reads what is there, and returns whether that was the end of the answer."""

    def send(self) -> None: ...
    def receive(self) -> bool: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


def request_of(path: str, token: str, *headers: str) -> bytes:
    """Return a request for a path."""
    lines = [f"GET /api/v1/{path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {token}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class HttpClient:
    """A client of the API, which sends the same request again and again. Exits if an answer has another status."""

    def __init__(self, port: int, request: bytes, status: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.request, self.status = request, status
        self.fileno, self.close = self.socket.fileno, self.socket.close

    def send(self) -> None:
        """Send the request."""
        self.answer, self.length = b"", 0
        self.socket.sendall(self.request)

    def receive(self) -> bool:
        """Read what is there."""
        received = self.socket.recv(1 << 18)
        self.answer += received
        if not self.length:
            head, end, _ = self.answer.partition(b"\r\n\r\n")
            if received and not end:
                return False
            self.length = len(head + end) + self.length_of_body(head)
        if not received:
            sys.exit("error: the API closed a connection")
        return len(self.answer) >= self.length

    def length_of_body(self, head: bytes) -> int:
        """Return the length of the body that follows."""
        status, *lines = head.decode().lower().split("\r\n")
        if status.split(" ")[1] != str(self.status):
            sys.exit(f"error: {status} and not {self.status}")
        lengths = [int(line.partition(":")[2]) for line in lines if line.startswith("content-length:")]
        return lengths[0] if self.status == 200 else 0


class SqlClient:
    """A client of PostgreSQL, which runs the same query again and again."""

    def __init__(self, database: Database, query: str) -> None:
        self.connection = psycopg2.connect(
            host=database.variables["PGHOST"], user="granary_api", dbname=database.name, async_=True
        )
        psycopg2.extras.wait_select(self.connection)
        self.cursor, self.query = self.connection.cursor(), query
        self.fileno, self.close = self.connection.fileno, self.connection.close

    def send(self) -> None:
        """Send the query."""
        self.cursor.execute(self.query)

    def receive(self) -> bool:
        """Read what is there."""
        if self.connection.poll() != psycopg2.extensions.POLL_OK:
            return False
        self.cursor.fetchall()
        return True


def ask(open_client: Callable[[], Client], clients: int, processes: int, seconds: float) -> list[float]:
    """Let clients send requests for some seconds, without a pause; return the seconds that each answer took."""
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        begin = time.perf_counter() + WARM_UP_SECONDS  # the clock is the machine's, the same in all processes
        task = (open_client, clients // processes, begin, begin + seconds)
        return [each for times in pool.starmap(run_clients, [task] * processes, chunksize=1) for each in times]


def run_clients(open_client: Callable[[], Client], count: int, begin: float, end: float) -> list[float]:
    """Let some clients send requests until the end; return the seconds of each answer since the beginning."""
    times, sent = [], {}
    with contextlib.ExitStack() as stack, selectors.DefaultSelector() as ready:
        for _ in range(count):
            client = stack.enter_context(contextlib.closing(open_client()))
            ready.register(client, selectors.EVENT_READ)
            sent[client] = time.perf_counter()
            client.send()
        while sent:
            for key, _ in ready.select():
                client = key.fileobj
                if not client.receive():
                    continue
                now, sent_at = time.perf_counter(), sent.pop(client)
                if sent_at >= begin:
                    times.append(now - sent_at)
                if now < end:
                    sent[client] = time.perf_counter()
                    client.send()
    return times


if __name__ == "__main__":
    main()
