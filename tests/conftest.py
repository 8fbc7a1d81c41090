"""What all tests share: a PostgreSQL server of their own, fresh databases on it, and a way to run the commands.

The server is the embedded one, in a temporary directory: whatever PGHOST or .env say, no test touches a user's data.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sysconfig
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions
import pytest
from psycopg2 import sql

import forked
from granary import declared

ROOT = Path(__file__).resolve().parent.parent
FEED_TESTS = ROOT / "tests" / "feeds"

# Variables that could lead a test to a user's data. Setting them to nothing, which counts as unset, keeps .env out too.
NEUTRAL = {
    "PGHOST": "",
    "PGPORT": "",
    "PGUSER": "",
    "PGPASSWORD": "",
    "PGDATABASE": "",
    "GRANARY_PGDATA": "",
    "GRANARY_DATA": "data",
    "GRANARY_SCHEMA_PREFIX": "",
    "DBT_PACKAGES_INSTALL_PATH": "",
    "COINGECKO_API_KEY": "",
    "COINGECKO_PLAN": "",
    "COINGECKO_BASE_URL": "",
    "COINGECKO_CALLS_PER_MINUTE": "",
    "COINGECKO_TIMEOUT": "",
    "GRANARY_RAW_URL": "",
    "GRANARY_ENGINE": "",
    "GRANARY_LAKE": "",
    "GRANARY_CLICKHOUSE": "",
    "GRANARY_DUCKDB": "",
    "GRANARY_SPARK": "",
    "GRANARY_SPARK_FORMAT": "",
    "GRANARY_SPARK_HOST": "",
    "GRANARY_API_PASSWORD": "",
    "GRANARY_READER_PASSWORD": "",
    "PYTHONDONTWRITEBYTECODE": "",  # or each command compiles the project's modules again
    "no_proxy": "127.0.0.1",  # the tests' own servers are not behind the user's proxy
}


needs_sample = pytest.mark.feeds("courses", "market", "shop", "tickets")  # the sample as it comes
NO_FEED = pytest.param("", marks=pytest.mark.skip(reason="needs a feed in the tree"))  # in place of an empty list
DBT = ("bin/dbt", "--quiet", "--no-write-json")  # for runs whose artifacts nobody reads: writing them takes a second
MODELS_ONLY = ("--exclude-resource-type", "test", "unit_test")  # and seeds
# Generated histories are mostly garbage, so a build would refuse them.
NO_LIMITS = ("--exclude", "rejected_shares_are_below_the_limit")


@dataclass(frozen=True)
class Database:
    """One database of the test server."""

    name: str
    environment: dict[str, str]

    def connect(self, **kwargs: Any) -> psycopg2.extensions.connection:
        """Return a new connection."""
        return psycopg2.connect(host=self.environment["PGHOST"], port=5432, user="granary", dbname=self.name, **kwargs)

    def query(self, text: str | sql.Composable, parameters: Any = None) -> list[tuple]:
        """Run one statement in a transaction of its own and return its rows, if it has any."""
        with contextlib.closing(self.connect()) as connection, connection, connection.cursor() as cursor:
            cursor.execute(text, parameters)
            return cursor.fetchall() if cursor.description else []

    def run(self, *command: str | Path, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of the project on this database; see `run_command`."""
        return run_command(*command, env=self.environment | kwargs.pop("env", {}), **kwargs)

    def start(self, *command: str | Path, **kwargs: Any) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Start a command of the project on this database; see `start_command`."""
        return start_command(*command, env=self.environment | kwargs.pop("env", {}), **kwargs)


def run_command(
    *command: str | Path, env: dict[str, str] | None = None, root: Path = ROOT, **kwargs: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command, named from the project's root (bin/ingest), and return what it did, with its output as text.

    `env` is added to the neutral environment; everything else goes to subprocess.run.
    """
    if command[0] in forked.MODULES and not kwargs and (root / ".venv").exists():  # else the command says what to do
        return forked.run(list(map(str, command)), root, environment_with(env), timeout=300)
    options = {"capture_output": True, "text": True, "timeout": 300, "check": False} | kwargs
    return subprocess.run(arguments_of(command, root), env=environment_with(env), **options)


@contextlib.contextmanager
def start_command(
    *command: str | Path, env: dict[str, str] | None = None, **kwargs: Any
) -> Iterator[subprocess.Popen[str]]:
    """Start a command as `run_command` would, and don't wait for it. It is gone afterwards, whatever happens.

    With start_new_session=True, so is what it has started. Popen's own context manager would wait, without an end, for
    a command that nobody told to stop.
    """
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | kwargs
    with subprocess.Popen(arguments_of(command, ROOT), env=environment_with(env), **options) as process:
        try:
            yield process
        finally:
            process.kill()
            if options.get("start_new_session"):
                with contextlib.suppress(ProcessLookupError):  # all of them have ended
                    os.killpg(process.pid, signal.SIGKILL)


def wait_until(happened: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = 600) -> None:
    """Wait until something has happened, or fail: after some seconds, and when the process that should do it ends."""
    deadline = time.monotonic() + seconds
    while not happened():
        assert process is None or process.poll() is None, process.communicate(timeout=60)
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def copy_of_project(root: Path) -> Path:
    """Copy what git has, or would take, of the project, with an environment whose packages are those of the copy."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).exists():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, root / name)
    venv, packages = root / ".venv", Path(sysconfig.get_path("purelib"))
    (own := venv / packages.relative_to(ROOT / ".venv")).mkdir(parents=True)
    own_packages = [root / name for name in ("scripts", "serving", "orchestration/airflow", "orchestration/dagster")]
    (own / "granary.pth").write_text("".join(f"{path}\n" for path in [*own_packages, packages]))
    (venv / "bin").symlink_to(ROOT / ".venv" / "bin")
    for path in [ROOT / ".venv" / "pyvenv.cfg", *(ROOT / ".venv").glob("granary-*")]:
        shutil.copy(path, venv)
    (venv / "granary-root").write_text(f"{root}\n")
    return root


def arguments_of(command: tuple[str | Path, ...], root: Path) -> list[str]:
    program = str(root / command[0]) if "/" in str(command[0]) else str(command[0])
    return [program, *map(str, command[1:])]


def environment_with(added: dict[str, str] | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "GRANARY_", "DBT_"))}
    return inherited | NEUTRAL | (added or {})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests of feeds that are not in the tree, and begin with those that take longest."""
    feeds = set(declared.units())
    for item in items:
        needed = {feed for mark in item.iter_markers("feeds") for feed in mark.args}
        if FEED_TESTS in item.path.parents:
            needed.add(item.path.relative_to(FEED_TESTS).parts[0])
        if needed - feeds:
            missing = ", ".join(sorted(needed - feeds))
            item.add_marker(pytest.mark.skip(reason=f"needs feeds that are not in the tree: {missing}"))
    items.sort(key=lambda item: not (item.get_closest_marker("soak") or item.get_closest_marker("long")))


@pytest.fixture(scope="session", autouse=True)
def neutral_environment() -> Iterator[None]:
    """Keep the user's settings out of the tests' own process, too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # nohup and `&` ignore it, and commands would inherit that
    with pytest.MonkeyPatch.context() as patch:
        for name, value in NEUTRAL.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def run() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Give `run_command`."""
    return run_command


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """Give a directory with a space in its path that root's server can reach, which pytest's tmp_path is not."""
    directory = Path(tempfile.mkdtemp(prefix="granary test-", dir="/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def scratch() -> Iterator[Path]:
    """Give a directory that root's server can reach."""
    with scratch_directory() as directory:
        yield directory


@pytest.fixture(scope="session")
def server() -> Iterator[dict[str, str]]:
    """Start the tests' server; give the environment that leads to it. Stops it, and removes its data, at the end."""
    with scratch_directory() as directory:
        home = {"GRANARY_PGDATA": str(directory / "warehouse")}
        try:
            started = run_command("bin/warehouse", "start", env=home)
            assert started.returncode == 0, started.stderr
            environment = home | {
                "PGHOST": home["GRANARY_PGDATA"],
                "PGPORT": "5432",
                "PGUSER": "granary",
                "DBT_TARGET_PATH": str(directory / "target"),  # neither the user's artifacts nor another worker's
                "DBT_LOG_PATH": str(directory / "logs"),
                "DBT_LOG_LEVEL_FILE": "none",  # nobody reads it, and writing it takes a tenth of dbt's time
            }
            with contextlib.closing(
                psycopg2.connect(host=environment["PGHOST"], user="granary", dbname="postgres")
            ) as c:
                c.autocommit = True
                with c.cursor() as cursor:  # the tests' data needn't outlive a crash
                    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                        cursor.execute(f"alter system set {setting} = off")
                    cursor.execute("select pg_reload_conf()")
            yield environment
        finally:
            run_command("bin/warehouse", "stop", env=home)


@pytest.fixture(scope="session")
def new_database(server: dict[str, str]) -> Callable[[], Database]:
    """Give a function that creates a fresh database, or a copy of one to which nobody is connected.

    dbt parses the whole project again for each name of a database. So each file of tests begins with the same names,
    each name has artifacts of its own, and who makes many copies gives all of them one name.
    """
    postgres = Database("postgres", server | {"PGDATABASE": "postgres"})
    count, last_file = 0, ""

    def create(template: Database | None = None, name: str = "") -> Database:
        nonlocal count, last_file
        file = os.environ["PYTEST_CURRENT_TEST"].partition("::")[0]
        count, last_file = (count + 1 if file == last_file else 1), file
        name = name or f"test_{count}"
        with contextlib.closing(postgres.connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f"drop database if exists {name} with (force)")
                cursor.execute(f"create database {name} template {template.name if template else 'template1'}")
        return Database(name, server | {"PGDATABASE": name, "DBT_TARGET_PATH": f"{server['DBT_TARGET_PATH']}/{name}"})

    return create


def new_build(new_database: Callable[..., Database], *arguments: str | Path, name: str = "") -> Database:
    """Return a fresh database with what `bin/ingest`, with these arguments, has loaded, built without dbt's tests."""
    database = new_database(name=name)
    for command in (("bin/ingest", *arguments), (*DBT, "build", *MODELS_ONLY)):
        done = database.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return database


@pytest.fixture(scope="session")
def sample(new_database: Callable[[], Database]) -> Database:
    """The sample data, built. A test that changes something makes a copy: new_database(sample)."""
    return new_build(new_database, name="sample")


@pytest.fixture
def database(new_database: Callable[[], Database], monkeypatch: pytest.MonkeyPatch) -> Database:
    """Give a fresh database, which the test's own process uses, too (so that `warehouse.connect()` works)."""
    created = new_database()
    for name, value in created.environment.items():
        monkeypatch.setenv(name, value)
    return created


# -- Servers and browsers ----------------------------------------------------------------------------------------------


def free_port() -> int:
    """Return a port on which nobody listens yet."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def fetch(address: str, server: subprocess.Popen) -> bytes:
    """Return what an address answers, as soon as it does."""
    for _ in range(1500):
        assert server.poll() is None, server.communicate()
        with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=10) as answer:
            return answer.read()
        time.sleep(0.2)
    raise AssertionError(f"{address} never answered")


@pytest.fixture
def page() -> Iterator[Any]:
    """Give a page of Chromium that fails where a script does, or where anything is asked of the network."""
    from playwright.sync_api import sync_playwright  # only `make test_browser` installs it

    names = ("chromium", "chromium-browser", "google-chrome")
    chromium = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    assert chromium, "Chromium isn't installed: apt install chromium, or name it in CHROMIUM"
    with sync_playwright() as playwright:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has none
        browser = playwright.chromium.launch(executable_path=chromium, args=sandbox)
        page = browser.new_page(viewport={"width": 1400, "height": 950})
        page.set_default_timeout(60_000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        for kind in ("request", "websocket"):
            page.on(kind, lambda asked: None if is_local(asked.url) else problems.append(asked.url))
        yield page
        browser.close()
        assert problems == []


def is_local(address: str) -> bool:
    """Tell whether an address stays on this machine."""
    parts = urllib.parse.urlsplit(address)
    return parts.scheme not in ("http", "https", "ws", "wss") or parts.hostname == "127.0.0.1"
