"""Run dbt on this project and this warehouse.

usage: bin/dbt [--bar] <any arguments of dbt>        e.g.  bin/dbt build --select tag:ledger

Works from any directory, starts the embedded server if necessary, and makes loads and builds take turns.

  --bar                    show a progress bar, warnings, errors and one line at the end instead of all of dbt's lines
  deps                     download the packages from the dbt hub, or use dbt/offline_packages if it can't be reached
  deps --once              do this only if packages.yml has changed since the last time
  --exec program argument  run another program of the virtual environment, such as sqlfluff, in dbt's environment
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import psycopg2.extensions
import requests
import yaml
from tqdm import tqdm

from granary import engines, last_build, rules
from granary.project import ROOT, TEST_RESULTS, load_env, replacing, run_main, target_directory
from granary.server.connection import connect, environment
from granary.server.lock import keep_lock, take_lock
from granary.text import counted

PROJECT = ROOT / "dbt"
OFFLINE, DOWNLOADED = PROJECT / "offline_packages", PROJECT / "dbt_packages"
DECISION = ROOT / ".venv" / "granary-packages"  # the packages.yml for which `deps` was last run
TESTS = {"build", "retry", "test"}
WRITES = {"build", "clone", "retry", "run", "run-operation", "seed", "snapshot", "test"}
WITHOUT_SERVER = {"", "clean", "deps", "init"}
HELP = {"--help", "-h"}
BROKEN_TABLES = "GRANARY_BROKEN_TABLES"  # tells dbt's macros what is wrong, by <feed>.<table>, as JSON
ENDS = {"success": "passed", "pass": "passed", "error": "failed", "fail": "failed", "warn": "with warnings"}

# Each model sees one state of its inputs, even if a load commits meanwhile; the server stops the queries of a dbt that
# was killed; and indexes are used where few rows are new (PostgreSQL's default cost assumes spinning disks).
SESSION = (
    r"-c default_transaction_isolation=repeatable\ read -c client_connection_check_interval=1s -c random_page_cost=1.1"
)


def main() -> int:
    """Run dbt with the arguments of the command line and return its exit code."""
    asked_for = prepare()
    if sys.argv[1:2] == ["--exec"]:
        os.environ["GRANARY_ENGINE"] = "postgres"  # whose SQL it is that sqlfluff checks
        connection = connect_dbt()
        leave_out_broken_tables(connection)
        connection.close()
        os.execv(sys.executable, [sys.executable, "-m", *sys.argv[2:]])

    arguments = [argument for argument in sys.argv[1:] if argument != "--bar"] or ["--help"]
    engine = engines.chosen(arguments)
    os.environ |= engines.settings(engine)
    command = "" if HELP.intersection(arguments) else command_of(arguments)
    if arguments[0] in HELP:
        print(f"{__doc__.strip()}\n\ndbt's own help:\n")
    if command == "deps":
        return fetch_packages(arguments, asked_for)
    broken = False
    if command not in WITHOUT_SERVER and engine != "postgres":
        arguments = engines.prepare(engine, command, arguments, sys.argv[1:])
        broken = leave_out_broken_tables()
    elif command not in WITHOUT_SERVER:
        connection = connect_dbt()
        # To compile needs no raw table: bin/feed check reads a table that bin/ingest hasn't created yet.
        broken = leave_out_broken_tables(None if command == "compile" else connection)
        if command in WRITES:
            take_turn(connection, f"dbt {command}")
        else:
            connection.close()
    be_interruptible()
    started = time.time()
    code = run_with_bar(command, arguments) if command and "--bar" in sys.argv else run(arguments)
    results = results_written(since=started)
    if results and command in TESTS:
        with replacing(target_directory() / TEST_RESULTS) as file:  # `dbt docs generate` leaves this one alone
            file.write(results)
    if code and command in WRITES and (seeds := missing_seeds(results)):
        print(f"not loaded yet: {', '.join(seeds)}; run bin/dbt seed first, or bin/dbt build, which does both")
    return code or int(broken and command in WRITES)


def prepare() -> str | None:
    """Set the variables that dbt needs before it connects; return DBT_PACKAGES_INSTALL_PATH as the user has set it."""
    load_env()
    asked_for = os.environ.get("DBT_PACKAGES_INSTALL_PATH")
    os.environ |= {
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_PACKAGES_INSTALL_PATH": asked_for or (OFFLINE if uses_stand_ins() else DOWNLOADED).name,
    }
    if not sys.stdout.isatty():
        os.environ.setdefault("DBT_USE_COLORS", "false")
    return asked_for


def take_turn(connection: psycopg2.extensions.connection, what: str) -> None:
    """Wait for other loads and builds; keep the lock, on this connection, until the process ends."""
    take_lock(connection, what)
    with contextlib.closing(connect()) as own:
        last_build.note_other_code(own)
    keep_lock(connection, stop_without_lock)


def command_of(arguments: list[str]) -> str:
    """Return dbt's command, which may follow global options and their values; "" if there is none."""
    if not arguments[0].startswith("-"):
        return arguments[0]
    import click
    from dbt.cli.main import cli  # takes a second: only where options come first

    try:
        _, rest, _ = cli.make_parser(click.Context(cli)).parse_args(list(arguments))
    except click.UsageError:  # dbt reports it
        return ""
    return rest[0] if rest else ""


def connect_dbt() -> psycopg2.extensions.connection:
    """Connect to the warehouse, and set the variables by which dbt does so, too.

    dbt's own message about a server that can't be reached, or is too old, would be long.
    """
    os.environ.update(environment())
    connection = connect()
    os.environ["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} {SESSION}".strip()
    return connection


def leave_out_broken_tables(connection: psycopg2.extensions.connection | None = None) -> bool:
    """Find the tables whose declaration can't be used, print why, and let dbt leave them out; return if there are any.

    dbt itself would find out while it builds the core's models of all feeds, and skip everything that reads these.
    """
    found = rules.problems(connection)
    for problem in dict.fromkeys(found.values()):
        print(f"error: {problem}", file=sys.stderr, flush=True)
    if found:
        os.environ[BROKEN_TABLES] = json.dumps(found)
        print("error: these tables are left out; models that need them will fail or be skipped", file=sys.stderr)
    else:  # dbt parses less if a variable is unset as before
        os.environ.pop(BROKEN_TABLES, None)
    return bool(found)


def be_interruptible() -> None:
    """Let Ctrl-C end dbt at once."""
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # its process reports what stop_at_once leaves
    signal.signal(signal.SIGINT, stop_at_once)


def stop_at_once(*_: Any) -> NoReturn:
    """Exit on Ctrl-C without dbt's long traceback. The server rolls back unfinished transactions."""
    print("\ninterrupted: the models that were being built are as they were before", file=sys.stderr)
    os._exit(130)


def stop_without_lock() -> NoReturn:
    """Exit because the server has ended the session that holds the lock: a load or another build may begin by now."""
    print(
        "\nerror: the server has ended the session that holds the lock of loads and builds, so this command stops: the"
        " models that\nwere being built are as they were before. Run it again.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


def uses_stand_ins() -> bool:
    """Return whether a package of packages.yml has not been downloaded."""
    return not all((DOWNLOADED / name / "dbt_project.yml").exists() for name in package_names())


def package_names() -> list[str]:
    """Return the names of the packages in packages.yml, without their owners."""
    packages = PROJECT / "packages.yml"
    declared = yaml.safe_load(packages.read_text()) if packages.exists() else {}
    return [entry["package"].split("/")[-1] for entry in declared.get("packages", []) if "package" in entry]


def run(arguments: list[str]) -> int:
    """Run dbt in this process, so that the lock lasts as long as it; return its exit code."""
    from dbt.cli.main import cli  # takes a second: only when dbt is really run

    try:
        cli(arguments, prog_name="dbt")
    except SystemExit as done:
        return int(done.code or 0)
    return 0


def missing_seeds(written: bytes) -> list[str]:
    """Return the seeds whose absence made a node fail, sorted, according to the content of a run_results.json."""
    seeds = {path.stem for path in (PROJECT / "seeds").rglob("*.csv")}
    results = json.loads(written or "{}").get("results", [])
    messages = " ".join(result["message"] or "" for result in results if result["status"] == "error")
    return sorted(seeds.intersection(re.findall(r'relation "\w+\.(\w+)" does not exist', messages)))


def results_written(since: float) -> bytes:
    """Return the content of dbt's run_results.json; empty if it wasn't written after `since` (seconds)."""
    written = target_directory() / "run_results.json"
    return written.read_bytes() if written.exists() and written.stat().st_mtime >= since else b""


# -- Packages ----------------------------------------------------------------------------------------------------------


def fetch_packages(arguments: list[str], asked_for: str | None) -> int:
    """Run `dbt deps`, or choose the stand-ins, and print which; return an exit code.

    `asked_for` is the user's DBT_PACKAGES_INSTALL_PATH, which takes precedence.
    """
    once = "--once" in arguments
    arguments = [argument for argument in arguments if argument != "--once"]
    if asked_for and (PROJECT / asked_for).resolve() != OFFLINE:
        return run(arguments)
    if asked_for:  # `dbt deps` would delete them first
        print("dbt packages: the stand-ins in dbt/offline_packages (DBT_PACKAGES_INSTALL_PATH)")
        return 0

    declared = hashlib.sha256((PROJECT / "packages.yml").read_bytes()).hexdigest()
    if once and DECISION.exists() and DECISION.read_text() == declared:
        return 0
    if not hub_answers():
        kept = "the stand-ins in dbt/offline_packages are used" if uses_stand_ins() else "the earlier download stays"
        print(f"dbt packages: the dbt hub can't be reached, so {kept}")
    else:
        from dbt.cli.main import dbtRunner

        os.environ["DBT_PACKAGES_INSTALL_PATH"] = DOWNLOADED.name
        # dbt would print tracebacks of lost connections.
        done = dbtRunner().invoke(["--log-level", "none", *arguments])
        if done.success:
            print("dbt packages: downloaded from the dbt hub")
        else:
            shutil.rmtree(DOWNLOADED, ignore_errors=True)
            print(f"dbt packages: dbt deps failed: {done.exception}", file=sys.stderr)
            if not all((OFFLINE / name).exists() for name in package_names()):
                return 1
            print("dbt packages: the stand-ins in dbt/offline_packages are used")
    if DECISION.parent.exists():
        DECISION.write_text(declared)
    return 0


def hub_answers() -> bool:
    """Return whether the hub of dbt packages answers within a few seconds."""
    hub = os.environ.get("DBT_PACKAGE_HUB_URL", "https://hub.getdbt.com/")
    try:
        return requests.get(f"{hub.rstrip('/')}/api/v1/dbt-labs/dbt_utils.json", timeout=(3, 5)).ok
    except requests.RequestException:
        return False


# -- The progress bar --------------------------------------------------------------------------------------------------


def run_with_bar(command: str, arguments: list[str], manifest: Any = None) -> int:
    """Run dbt with a progress bar, and print only its warnings and errors; return its exit code.

    With a manifest, as dbt's command `parse` returns it, dbt doesn't parse the project again.
    """
    from dbt.cli.exceptions import DbtUsageException
    from dbt.cli.main import dbtRunner

    started = time.monotonic()
    bar = tqdm(desc="dbt", leave=False, disable=not sys.stderr.isatty(), bar_format="{desc} {bar} {n_fmt}/{total_fmt}")

    def follow(event: Any) -> None:
        """Advance the bar whenever dbt reports that a node has ended."""
        if event.info.name.startswith("Log") and event.info.name.endswith("Result") and hasattr(event.data, "total"):
            bar.total = event.data.total
            bar.set_description(f"dbt {event.data.node_info.node_name[:40]:40}", refresh=False)
            bar.update()

    done = dbtRunner(manifest=manifest, callbacks=[follow]).invoke(["--log-level", "warn", *arguments])
    bar.close()
    if isinstance(done.exception, DbtUsageException):  # dbt prints all others
        print(f"{done.exception} See bin/dbt --help.", file=sys.stderr)
    if done.exception:
        return 2
    if results := getattr(done.result, "results", None):
        print_results(command, results, time.monotonic() - started)
    return 0 if done.success else 1


def print_results(command: str, results: list[Any], seconds: float) -> None:
    """Print where the SQL of each failed test is, and one line about everything that ran."""
    for result in results:
        if result.status in ("fail", "warn"):  # of tests; dbt prints the place of errors itself
            print(f"{result.status}  {result.node.name}: its SQL is in {Path('dbt', result.node.compiled_path)}")
    ran = [  # nothing is built of exposures, and hooks only count where they fail
        result
        for result in results
        if result.node.resource_type not in ("exposure", "operation") or result.status == "error"
    ]
    kinds = Counter(result.node.resource_type.replace("_", " ") for result in ran)
    ends = Counter(ENDS.get(str(result.status), str(result.status)) for result in ran)
    what = ", ".join(counted(count, kind) for kind, count in kinds.items())
    ended = "all passed" if set(ends) == {"passed"} else ", ".join(f"{count} {end}" for end, count in ends.items())
    print(f"dbt {command}: {what} in {seconds:.0f} s: {ended}")


if __name__ == "__main__":
    run_main(main)
