"""Run dbt on this project and this warehouse.

usage: bin/dbt [--bar] <any arguments of dbt>        e.g.  bin/dbt build --select group:tickets

Works from any directory, starts the embedded server when it is needed, and lets one load or build write at a time.

  --bar                    instead of dbt's lines, show a progress bar, warnings, errors, and one line at the end
  deps                     fetch the packages from the dbt hub; where it can't be reached, use dbt/offline_packages
  deps --once              the same, unless that was decided already for this packages.yml
  --exec program argument  run another program of the virtual environment as dbt would be run (used for sqlfluff)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NoReturn

import requests
import yaml
from tqdm import tqdm

from granary.project import ROOT, TEST_RESULTS, load_env, replacing, run_main, target_directory
from granary.server.connection import connect, environment
from granary.server.lock import take_lock

PROJECT = ROOT / "dbt"
OFFLINE, DOWNLOADED = PROJECT / "offline_packages", PROJECT / "dbt_packages"
DECISION = ROOT / ".venv" / "granary-packages"  # which packages.yml `deps` was last run for
TESTS = {"build", "retry", "test"}
WRITES = {"build", "clone", "retry", "run", "run-operation", "seed", "snapshot", "test"}
WITHOUT_SERVER = {"clean", "deps", "init", "--help", "-h", "--version", "-V", "-v"}
ENDS = {"success": "passed", "pass": "passed", "error": "failed", "fail": "failed", "warn": "with warnings"}

# Each model sees one state of its inputs, whatever is loaded meanwhile; a dbt that is gone ends on the server, too; and
# an index is used where few rows are new (PostgreSQL's own estimate of its cost is for disks that turn).
SESSION = (
    r"-c default_transaction_isolation=repeatable\ read -c client_connection_check_interval=1s -c random_page_cost=1.1"
)


def main() -> int:
    """Run dbt with the arguments of the command line and return its exit code."""
    arguments = sys.argv[1:] or ["--help"]
    load_env()
    asked_for = os.environ.get("DBT_PACKAGES_INSTALL_PATH")
    os.environ.update(project_environment())
    if not sys.stdout.isatty():
        os.environ.setdefault("DBT_USE_COLORS", "false")
    if arguments[0] in ("--help", "-h"):
        print(f"{__doc__.strip()}\n\ndbt's own help:\n")
    if arguments[0] == "deps":
        return fetch_packages(arguments[1:], asked_for)
    if WITHOUT_SERVER.isdisjoint(arguments):
        os.environ.update(environment())
        connection = connect()  # dbt's own message about an unreachable or too old server would be long
        if WRITES.intersection(arguments):
            connection.autocommit = True
            take_lock(connection, "dbt " + next(word for word in arguments if word in WRITES))
        else:
            connection.close()
        os.environ["PGOPTIONS"] = f"{os.environ.get('PGOPTIONS', '')} {SESSION}".strip()
    if arguments[0] == "--exec":
        os.execv(sys.executable, [sys.executable, "-m", *arguments[1:]])
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")  # its process reports what stop_at_once leaves
    signal.signal(signal.SIGINT, stop_at_once)
    started = time.time()
    code = run_with_bar(arguments[1:]) if arguments[0] == "--bar" else run(arguments)
    if TESTS.intersection(arguments):
        keep_test_results(since=started)
    return code


def stop_at_once(*_: Any) -> NoReturn:
    """End on Ctrl-C, without the page of traceback that dbt prints. The server rolls back what was under way."""
    print("\ninterrupted: the models that were being built are as they were before", file=sys.stderr)
    os._exit(130)


def project_environment() -> dict[str, str]:
    """Return the variables by which dbt finds the project, the profile and the packages."""
    directory = os.environ.get("DBT_PACKAGES_INSTALL_PATH") or (OFFLINE if uses_stand_ins() else DOWNLOADED).name
    return {
        "DBT_PROJECT_DIR": str(PROJECT),
        "DBT_PROFILES_DIR": str(PROJECT),
        "DBT_PACKAGES_INSTALL_PATH": directory,
    }


def uses_stand_ins() -> bool:
    """Tell whether a package of packages.yml has not been downloaded."""
    return not all((DOWNLOADED / name / "dbt_project.yml").exists() for name in package_names())


def package_names() -> list[str]:
    """Return the packages that the project asks for, without their owners."""
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


def keep_test_results(since: float) -> None:
    """Keep what dbt wrote about its tests, after `since` (seconds), where `dbt docs generate` doesn't write over it."""
    target = target_directory()
    written = target / "run_results.json"
    if written.exists() and written.stat().st_mtime >= since:
        with replacing(target / TEST_RESULTS) as file:
            file.write(written.read_bytes())


# -- Packages ----------------------------------------------------------------------------------------------------------


def fetch_packages(arguments: list[str], asked_for: str | None) -> int:
    """Run `dbt deps`, or settle for the stand-ins, and say which; return an exit code.

    `asked_for` is the user's DBT_PACKAGES_INSTALL_PATH, which wins.
    """
    once = "--once" in arguments
    arguments = [argument for argument in arguments if argument != "--once"]
    if asked_for and (PROJECT / asked_for).resolve() != OFFLINE:
        return run(["deps", *arguments])
    if asked_for:  # `dbt deps` would begin by deleting the directory: never let it loose on the stand-ins
        print("dbt packages: the stand-ins in dbt/offline_packages (DBT_PACKAGES_INSTALL_PATH)")
        return 0

    declared = hashlib.sha256((PROJECT / "packages.yml").read_bytes()).hexdigest()
    if once and DECISION.exists() and DECISION.read_text() == declared:
        return 0
    if not hub_answers():
        kept = "the stand-ins in dbt/offline_packages are" if uses_stand_ins() else "those downloaded earlier stay"
        print(f"dbt packages: the dbt hub can't be reached, so {kept} in use")
    else:
        from dbt.cli.main import dbtRunner

        os.environ["DBT_PACKAGES_INSTALL_PATH"] = DOWNLOADED.name
        done = dbtRunner().invoke(
            ["--log-level", "none", "deps", *arguments]
        )  # dbt prints tracebacks of lost connections
        if done.success:
            print("dbt packages: downloaded from the dbt hub")
        else:
            shutil.rmtree(DOWNLOADED, ignore_errors=True)
            print(f"dbt packages: dbt deps failed: {done.exception}", file=sys.stderr)
            if not all((OFFLINE / name).exists() for name in package_names()):
                return 1
            print("dbt packages: the stand-ins in dbt/offline_packages are in use")
    if DECISION.parent.exists():
        DECISION.write_text(declared)
    return 0


def hub_answers() -> bool:
    """Tell whether the hub of dbt packages can be reached; patience is short."""
    hub = os.environ.get("DBT_PACKAGE_HUB_URL", "https://hub.getdbt.com/")
    try:
        return requests.get(f"{hub.rstrip('/')}/api/v1/dbt-labs/dbt_utils.json", timeout=(3, 5)).ok
    except requests.RequestException:
        return False


# -- The progress bar --------------------------------------------------------------------------------------------------


def run_with_bar(arguments: list[str]) -> int:
    """Run dbt with a progress bar; warnings and errors are printed as dbt words them. Returns its exit code."""
    from dbt.cli.exceptions import DbtUsageException
    from dbt.cli.main import dbtRunner

    started = time.monotonic()
    bar = tqdm(desc="dbt", leave=False, disable=not sys.stderr.isatty(), bar_format="{desc} {bar} {n_fmt}/{total_fmt}")

    def follow(event: Any) -> None:
        """Move the bar on whenever dbt reports the end of a node."""
        if event.info.name.startswith("Log") and event.info.name.endswith("Result") and hasattr(event.data, "total"):
            bar.total = event.data.total
            bar.set_description(f"dbt {event.data.node_info.node_name[:40]:40}", refresh=False)
            bar.update()

    done = dbtRunner(callbacks=[follow]).invoke(["--log-level", "warn", *arguments])
    bar.close()
    if isinstance(done.exception, DbtUsageException):  # dbt has printed any other one
        print(f"{done.exception} See bin/dbt --help.", file=sys.stderr)
    if done.exception:
        return 2
    if results := getattr(done.result, "results", None):
        print_results(arguments[0], results, time.monotonic() - started)
    return 0 if done.success else 1


def print_results(command: str, results: list[Any], seconds: float) -> None:
    """Print where to look for what failed, and one line about everything that ran."""
    for result in results:
        if result.status in ("fail", "warn"):  # of tests; for errors, dbt says so itself
            print(f"{result.status}  {result.node.name}: its SQL is in {Path('dbt', result.node.compiled_path)}")
    kinds = Counter(result.node.resource_type.replace("_", " ") for result in results)
    ends = Counter(
        ENDS.get(str(result.status), str(result.status))
        for result in results
        if result.node.resource_type != "operation" or result.status == "error"
    )
    ran = ", ".join(f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in kinds.items() if kind != "operation")
    ended = "all passed" if set(ends) == {"passed"} else ", ".join(f"{count} {end}" for end, count in ends.items())
    print(f"dbt {command}: {ran} in {seconds:.0f} s: {ended}")


if __name__ == "__main__":
    run_main(main)
