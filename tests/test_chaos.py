"""Whatever is killed, and whenever: no acknowledged load is lost, no row is doubled, and incremental equals full.

`make chaos` kills commands, server processes, the postmaster or all of them at random moments of loads, replacements,
builds, full refreshes, resets, second copies and starts (GRANARY_KILLS=200; GRANARY_SEED draws others). After each kill
the server must start again, and each batch in the ledger is compared line by line with the bytes of its file. Now and
then everything is brought up to date, built, compared with a full refresh beside it, and with a sum of Python's.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from conftest import DBT, Database, arguments_of, environment_with, run_command, scratch_directory
from copies import differences
from own_feed import HEADER, copy_with_own_feed

KILLS = int(os.environ.get("GRANARY_KILLS") or 200)
SEED = int(os.environ.get("GRANARY_SEED") or 0)
SETTLES_EVERY = 25  # kills
PATIENCE = 300  # seconds for a command whose server or companion was killed
BUILD = (*DBT, "build", "--exclude-resource-type", "unit_test")
SECOND, FULL = "second_", "full_"
pytestmark = [pytest.mark.chaos, pytest.mark.timeout(0)]


class Warehouse:
    """A copy of the project with one feed and an embedded server of its own, and all files that were ever delivered."""

    def __init__(self, root: Path, draw: random.Random) -> None:
        self.root, self.draw = root / "a copy", draw
        self.home, self.landing = root / "warehouse", root / "data"
        self.environment = {
            "GRANARY_PGDATA": str(self.home),
            "GRANARY_DATA": str(self.landing),
            "DBT_TARGET_PATH": str(root / "target"),
            "DBT_LOG_PATH": str(root / "logs"),
        }
        self.database = Database("granary", self.environment | {"PGHOST": str(self.home)})
        self.contents: dict[str, tuple[list[tuple], list[int]]] = {}  # by hash: the rows, and the rejected lines
        self.acknowledged: set[tuple[str, str]] = set()  # (path, hash) of the loads that bin/ingest reported
        self.compared: set[tuple] = set()  # the batches that were compared with their files
        self.rows_compared = 0
        self.files = self.settled = 0
        self.was_reset = False
        copy_with_own_feed(self.root, self.succeed)
        self.write(self.landing / "initial" / "bar" / "sales.csv", 500)

    def settings(self, prefix: str) -> dict[str, str]:
        target = f"{self.environment['DBT_TARGET_PATH']} {prefix}"
        return self.environment | {"GRANARY_SCHEMA_PREFIX": prefix, "DBT_TARGET_PATH": target}

    def succeed(self, *command: str, prefix: str = "") -> str:
        done = run_command(*command, root=self.root, env=self.settings(prefix), timeout=PATIENCE * 2)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # -- Files ---------------------------------------------------------------------------------------------------------

    def write(self, path: Path, count: int) -> None:
        """Write a landing file, some of whose lines can't be rows, under its name at once."""
        rows, rejected, lines = [], [], [HEADER]
        for line in range(2, count + 2):
            if self.draw.random() < 0.002:
                rejected.append(line)
                lines.append("too,short")
                continue
            price = f"{self.draw.randrange(100, 100_000) / 100:.2f}"
            row = (f"s{self.draw.randrange(20_000)}", price, f"2026-02-{self.draw.randrange(1, 29):02}", "fine")
            rows.append((line, *row))
            lines.append(",".join(row))
        data = "\n".join([*lines, ""]).encode()
        data = gzip.compress(data, mtime=0) if path.suffix == ".gz" else data
        self.contents[hashlib.sha256(data).hexdigest()] = rows, rejected
        path.parent.mkdir(parents=True, exist_ok=True)
        (new := path.with_name(f".{path.name}")).write_bytes(data)
        new.rename(path)

    def acknowledge(self, label: str) -> None:
        """Remember that the load of a file was reported."""
        (path,) = [*(self.landing / "incremental/bar/sales").glob(f"{label}.*")] or [
            self.landing / "initial/bar/sales.csv"
        ]
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.acknowledged.add((path.relative_to(self.landing).as_posix(), sha256))

    def delivered(self) -> list[Path]:
        return sorted((self.landing / "incremental" / "bar" / "sales").glob("[!.]*"))

    def deliver(self) -> None:
        for _ in range(self.draw.randrange(1, 5)):
            self.files += 1
            suffix = self.draw.choice(["csv", "csv.gz"])
            folder = self.landing / "incremental" / "bar" / "sales"
            self.write(folder / f"batch_{self.files:04}.{suffix}", self.draw.randrange(10, 20_000))

    # -- Comparisons ---------------------------------------------------------------------------------------------------

    def compare(self) -> None:
        """Start the server, and compare what it has with the files."""
        self.succeed("bin/warehouse", "start")
        if not self.database.query("select to_regclass('raw._batches') is not null")[0][0]:
            assert not self.acknowledged or self.was_reset
            self.acknowledged.clear()
            return
        ledger = "select batch_id, path, sha256, status, rows_loaded, rows_rejected, finished_at from raw._batches"
        batches = self.database.query(ledger)
        held = {(path, sha256) for _, path, sha256, *_ in batches}
        if self.was_reset:  # then what was acknowledged before is all there or all gone
            if not self.acknowledged <= held:
                self.acknowledged &= held
                assert {path for path, _ in self.acknowledged} <= {"initial/bar/sales.csv"}, "dropped in part"
            self.was_reset = False
        assert self.acknowledged <= held, f"lost: {self.acknowledged - held}"
        current = Counter(path for _, path, _, status, *_ in batches if status == "loaded")
        assert set(current.values()) <= {1}, f"doubled: {current.most_common(3)}"
        for batch in batches:
            batch_id, path, sha256, status, loaded, rejected, _ = batch
            if status == "failed" or (key := (batch_id, sha256, batch[-1])) in self.compared:
                continue
            rows, rejected_lines = self.contents[sha256]
            found = self.database.query(
                "select _row_id - first_row_id + 1, sale_id, price, sold_on, note from raw.bar__sales as sales"
                " inner join raw._batches as batches on batch_id = _batch_id where _batch_id = %s order by _row_id",
                [batch_id],
            )
            assert found == rows, f"batch {batch_id}, {path}"
            lines = "select line_number from raw._rejected_lines where batch_id = %s order by 1"
            assert [line for (line,) in self.database.query(lines, [batch_id])] == rejected_lines
            assert (loaded, rejected) == (len(rows), len(rejected_lines))
            self.compared.add(key)
            self.rows_compared += len(rows)
        strays = "select count(*) from raw.bar__sales where _batch_id not in (select batch_id from raw._batches)"
        if current:
            assert self.database.query(strays) == [(0,)]

    def settle(self) -> None:
        """Bring everything up to date, and compare it with a full refresh and with the files."""
        self.succeed("bin/ingest", "--replace")
        self.compare()
        self.compared.clear()
        self.compare()  # all batches once more: nothing older has changed
        done = run_command(*BUILD, root=self.root, env=self.settings(""), timeout=PATIENCE * 2)
        if done.returncode:
            assert "--full-refresh" in done.stdout + done.stderr, done.stdout + done.stderr
            self.succeed(*BUILD, "--full-refresh")
        self.succeed(*BUILD, "--full-refresh", prefix=FULL)
        assert differences(self.database, FULL) == []
        latest = {}
        batches = "select batch_id, sha256 from raw._batches where status = 'loaded' order by batch_id"
        for _, sha256 in self.database.query(batches):
            for _, sale_id, price, *_ in self.contents[sha256][0]:
                latest[sale_id] = Decimal(price)
        self.settled += 1
        expected = len(latest), sum(latest.values())
        assert self.database.query("select count(*), sum(price) from marts.fct_bar_sales") == [expected]

    # -- Kills ---------------------------------------------------------------------------------------------------------

    def server_processes(self) -> list[psutil.Process]:
        """Return the server's processes, the postmaster first."""
        cluster = str((self.home / "cluster").resolve())
        found = [
            process
            for process in psutil.process_iter(["name", "cwd", "ppid"])
            if process.info["name"] == "postgres" and process.info["cwd"] == cluster
        ]
        pids = {process.pid for process in found}
        return sorted(found, key=lambda process: process.info["ppid"] in pids)


class Action:
    """A command that runs in a session of its own."""

    def __init__(self, warehouse: Warehouse, name: str, *command: str, prefix: str = "") -> None:
        self.warehouse, self.name, self.started = warehouse, name, time.monotonic()
        self.output = (warehouse.landing.parent / f"output of {name}").open("w+")
        self.process = subprocess.Popen(
            arguments_of(command, warehouse.root), env=environment_with(warehouse.settings(prefix)),
            start_new_session=True, stdout=self.output, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def end(self) -> float:
        """Wait until it has ended, remember which loads it acknowledged, and return how many seconds it took."""
        self.process.wait(PATIENCE)
        seconds = time.monotonic() - self.started
        self.output.seek(0)
        printed = self.output.read()
        self.output.close()
        assert "Traceback" not in printed, f"{self.name}:\n{printed}"
        for label in re.findall(r"^loaded +bar/sales/(\S+)", printed, re.MULTILINE):
            self.warehouse.acknowledge(label)
        return seconds


def actions(warehouse: Warehouse, draw: random.Random) -> dict[str, Callable[[], Action]]:
    """Return what can be started and killed, by name."""

    def load() -> Action:
        warehouse.deliver()
        return Action(warehouse, "load", "bin/ingest")

    def replace() -> Action:
        warehouse.write(draw.choice(warehouse.delivered()), draw.randrange(10, 20_000))
        return Action(warehouse, "replacement", "bin/ingest", "--replace")

    def reset() -> Action:
        warehouse.was_reset = True
        return Action(warehouse, "reset", "scripts/reset.sh", "--yes")

    def second_copy() -> Action:
        full = draw.choice([[], ["--full-refresh"]])
        return Action(warehouse, "second copy", *BUILD, *full, prefix=SECOND)

    return {
        "load": load,
        "replacement": replace,
        "build": lambda: Action(warehouse, "build", *BUILD),
        "full refresh": lambda: Action(warehouse, "full refresh", *BUILD, "--full-refresh"),
        "second copy": second_copy,
        "reset": reset,
        "start": lambda: Action(warehouse, "start", "bin/warehouse", "start"),
        "stop": lambda: Action(warehouse, "stop", "bin/warehouse", "stop"),
    }


WEIGHTS = {
    "load": 8, "replacement": 4, "build": 5, "full refresh": 2, "second copy": 2, "reset": 1, "start": 1, "stop": 1,
}  # fmt: skip
TARGETS = {"command": 4, "server process": 2, "postmaster": 2, "everything": 2}


def test_nothing_is_lost_or_doubled_whatever_is_killed() -> None:
    draw = random.Random(SEED)
    with scratch_directory() as directory:
        warehouse = Warehouse(directory, draw)
        try:
            warehouse.succeed("bin/load-initial")
            warehouse.settle()
            kills = run_and_kill(warehouse, draw)
            warehouse.settle()
        finally:
            run_command("bin/warehouse", "stop", root=warehouse.root, env=warehouse.environment)
            for process in warehouse.server_processes():
                process.kill()
    print(f"\n{kills.total()} kills (GRANARY_SEED={SEED}):")
    for (name, target), count in sorted(kills.items()):
        print(f"  {name:12}  {target:14}  {count:4}")
    files = len(warehouse.contents)
    print(f"{files} files, {warehouse.rows_compared:,} rows compared line by line: none lost, none doubled")
    print(f"{warehouse.settled} full refreshes beside it: no difference")


def run_and_kill(warehouse: Warehouse, draw: random.Random) -> Counter:
    """Start commands, alone or two at a time, kill something while they run, and compare; return what was killed."""
    possible = actions(warehouse, draw)
    usual = dict.fromkeys(possible, 3.0)  # seconds that each takes
    kills: Counter = Counter()
    while kills.total() < KILLS:
        names = draw.choices(list(WEIGHTS), list(WEIGHTS.values()), k=draw.choice([1, 1, 2]))
        if not warehouse.delivered():
            names = ["load"]
        if "reset" in names:  # what it drops was acknowledged before it began
            names = ["reset"]
        # A file is replaced before anything reads it.
        running = [possible[name]() for name in sorted(set(names), key=lambda name: name != "replacement")]
        victim, (target,) = draw.choice(running), draw.choices(list(TARGETS), list(TARGETS.values()))
        moment = draw.uniform(0, usual[victim.name])
        with contextlib.suppress(subprocess.TimeoutExpired):
            victim.process.wait(moment)
        in_time = victim.process.poll() is None
        if in_time:
            kill(warehouse, running, victim, target, draw)
            kills[victim.name, target] += 1
        seconds = {action.name: action.end() for action in running}
        # Later moments are drawn until the command ends by itself.
        usual[victim.name] = usual[victim.name] * 1.3 if in_time else seconds[victim.name]
        warehouse.compare()
        if in_time and kills.total() % SETTLES_EVERY == 0:
            warehouse.settle()
            print(f"{kills.total()} kills, {warehouse.rows_compared:,} rows compared", flush=True)
    return kills


def kill(warehouse: Warehouse, running: list[Action], victim: Action, target: str, draw: random.Random) -> None:
    """Kill the command, one of the server's processes, the postmaster, or all of them."""
    processes = warehouse.server_processes()
    with contextlib.suppress(psutil.NoSuchProcess):
        if target == "server process" and len(processes) > 1:
            draw.choice(processes[1:]).kill()
        elif target == "postmaster" and processes:
            processes[0].kill()
        elif target == "everything":
            for action in running:
                action.kill()
            for process in processes:
                process.kill()
        else:
            victim.kill()
