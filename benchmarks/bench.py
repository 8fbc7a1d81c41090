"""What the benchmarks share: a private server, databases on it, dbt on them, timing, and the way results are printed.

The server is the embedded one, with its ordinary settings (fsync included), in a temporary directory: whatever PGHOST
or .env say, no benchmark touches a user's warehouse. Only autovacuum is off, so that it does not run in the middle of a
measurement; what it would do is done between measurements (`Database.settle`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

ROOT = Path(__file__).resolve().parent.parent

# Variables that could lead to a user's data. Setting them to nothing, which counts as unset, keeps .env out too.
NEUTRAL = {
    "PGHOST": "",
    "PGPORT": "",
    "PGUSER": "",
    "PGPASSWORD": "",
    "PGDATABASE": "",
    "GRANARY_DATA": "data",
    "GRANARY_SCHEMA_PREFIX": "",
    "GRANARY_ENGINE": "",
    "GRANARY_LAKE": "",
    "DBT_PACKAGES_INSTALL_PATH": "",
    "GRANARY_API_PASSWORD": "",
}
STARTED = time.monotonic()


# -- The server --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Database:
    """A database of the private server, and the directory for what is written beside it."""

    name: str
    variables: dict[str, str]
    scratch: Path

    def connect(self) -> psycopg2.extensions.connection:
        """Return a new connection in autocommit mode."""
        connection = psycopg2.connect(
            host=self.variables["PGHOST"], port=self.variables["PGPORT"], user="granary", dbname=self.name
        )
        connection.autocommit = True
        return connection

    def execute(self, statement: Any, parameters: Any = None) -> list[tuple]:
        """Run one statement and return its rows, if it has any."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def timed(self, statement: str) -> float:
        """Run one statement; return the seconds it took."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            begun = time.perf_counter()
            cursor.execute(statement)
            return time.perf_counter() - begun

    def settle(self, *tables: str) -> None:
        """Do what autovacuum and the checkpointer would have done by now, for some tables or for all."""
        self.execute(f"vacuum (analyze) {', '.join(tables)}")
        self.execute("checkpoint")

    def environment(self) -> dict[str, str]:
        """Return the environment in which the project's commands use this database."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("PG", "GRANARY_", "DBT_"))
        }
        own = {
            "PGDATABASE": self.name,
            "DBT_TARGET_PATH": str(self.scratch / f"target_{self.name}"),
            "DBT_LOG_PATH": str(self.scratch / f"logs_{self.name}"),
        }
        return inherited | NEUTRAL | self.variables | own

    def run(self, *command: str | Path, codes: Sequence[int] = (0,)) -> str:
        """Run a command of the project, named from its root (bin/ingest), and return its output; end where it fails.

        `codes` are the exit codes that aren't failures.
        """
        program = [str(ROOT / command[0]), *map(str, command[1:])]
        done = subprocess.run(program, env=self.environment(), capture_output=True, text=True, check=False)
        if done.returncode not in codes:
            sys.exit(f"error: {shlex.join(program)} failed:\n{done.stdout}{done.stderr}")
        return done.stdout

    def prepare(self) -> None:
        """Create the raw tables as bin/ingest does where there is nothing to load, and the seeds."""
        nothing = self.scratch / "nothing"
        nothing.mkdir(exist_ok=True)
        self.run("bin/ingest", "--data-dir", nothing)
        self.run("bin/dbt", "--quiet", "seed")

    def dbt(self, *arguments: str) -> tuple[float, dict[str, float]]:
        """Run dbt; return the seconds of the whole command, and those of each model as dbt reports them."""
        begun = time.perf_counter()
        self.run("bin/dbt", "--quiet", *arguments)
        seconds = time.perf_counter() - begun
        return seconds, self.seconds_of("model")

    @property
    def last_run(self) -> dict[str, Any]:
        """Return what dbt reports of its last run."""
        return json.loads((self.scratch / f"target_{self.name}" / "run_results.json").read_text())

    def seconds_of(self, kind: str) -> dict[str, float]:
        """Return the seconds of each node of a kind (model, test) in dbt's last run, by name."""
        ids = {tuple(each["unique_id"].split(".")): each["execution_time"] for each in self.last_run["results"]}
        return {name[2]: seconds for name, seconds in ids.items() if name[0] == kind}

    def compiled(self, model: str) -> str:
        """Return the SQL that dbt made of a model in its last run."""
        [path] = (self.scratch / f"target_{self.name}" / "compiled").rglob(f"{model}.sql")
        return path.read_text()


@dataclass(frozen=True)
class Server:
    """The private server."""

    variables: dict[str, str]
    scratch: Path

    def database(self, name: str) -> Database:
        """Create a database."""
        database = Database(name, self.variables, self.scratch)
        Database("postgres", self.variables, self.scratch).execute(f"create database {name}")
        return database


@contextlib.contextmanager
def private_server(directory: str | None = None) -> Iterator[Server]:
    """Start a server in a new directory (in `directory`, else in the system's temporary one); remove it at the end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that `finally` runs
    scratch = Path(tempfile.mkdtemp(prefix="granary-benchmark-", dir=directory))
    scratch.chmod(0o711)  # root's server runs as another user, who must reach its data
    home = {"GRANARY_PGDATA": str(scratch / "warehouse")}
    maintenance = Database("postgres", home, scratch)
    try:
        say("starting a private server")
        exports = maintenance.run("bin/warehouse", "env")
        words = (word for line in exports.splitlines() for word in shlex.split(line)[1:])
        server = Server(home | dict(word.split("=", 1) for word in words), scratch)
        maintenance = Database("postgres", server.variables, scratch)
        maintenance.execute("alter system set autovacuum = off")
        maintenance.execute("select pg_reload_conf()")
        yield server
    finally:
        with contextlib.suppress(SystemExit):
            maintenance.run("bin/warehouse", "stop")
        shutil.rmtree(scratch, ignore_errors=True)


# -- Results -----------------------------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Show progress, with the time since the beginning."""
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"[{minutes:3}:{seconds:02}] {text}", file=sys.stderr, flush=True)


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Return the median and the range of measurements, for people."""
    middle = statistics.median(values)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    several = f" ({min(values):,.{digits}f} to {max(values):,.{digits}f})" if len(values) > 1 else ""
    return f"{middle:,.{digits}f} {unit}{several}"


def print_measurement(name: str, values: Sequence[float], unit: str = "s") -> None:
    """Print what was measured on one side."""
    print(f"  {name:<58} {spread(values, unit)}", flush=True)


def print_ratio(name: str, ratio: float, aim: str, digits: int = 2, prefix: str = "") -> None:
    """Print a ratio beside what it should be."""
    print(f"  {name:<58} {prefix}{ratio:.{digits}f}   aim: {aim}", flush=True)


def megabytes(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 1e6:,.0f} MB"
