"""Run the warehouse in Dagster (orchestration/dagster), which remembers its runs in DAGSTER_HOME (default: .dagster).

    bin/dagster ui                serve Dagster's pages, until Ctrl-C
    bin/dagster run               load new files and build everything, without pages; exit code 1 if anything fails
    bin/dagster run FEED          fetch, load and build one feed that bin/extract can fetch

Anyone who can open the pages can start runs. To serve them to other hosts, put them behind a proxy with a login: see
docs/orchestration.md.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from granary import engines, process
from granary.project import ROOT, check_address, check_packages, load_env, run_main

PROJECT = ROOT / "orchestration" / "dagster"
DEFINITIONS = "granary_dagster.definitions"
SUPERSEDED = "ignore:Function `dev_command` is superseded"  # by another package's command, which does the same


def main() -> int:
    """Run a job and return its exit code, or replace this process with Dagster's web server."""
    options = parse_arguments()
    load_env()
    engines.check_postgres("Dagster")
    check_packages("dagster", "dagster", "dagster_dbt")
    if options.command == "ui":
        check_address(options.host, options.port)
    prepare_home()
    process.run("bin/dbt", "--quiet", "parse", echo=False)  # Dagster reads the models and tests from the manifest
    if options.command == "ui":
        serve(options.host, options.port)
    return run_apart([sys.executable, "-m", "granary_dagster.headless", options.job])


def run_apart(command: list[str]) -> int:
    """Run a command in a new session and return its exit code; the command ends when this process does.

    In the same session, Ctrl-C would reach the helper processes of Dagster, which print tracebacks.
    """
    process.end_in_order()
    child = subprocess.Popen([*process.tied(), *command], start_new_session=True)
    try:
        return child.wait()
    finally:
        child.terminate()
        child.wait()
        with contextlib.suppress(ProcessLookupError):  # none is left
            os.killpg(child.pid, signal.SIGTERM)


def serve(host: str, port: int) -> NoReturn:
    """Replace this process with Dagster's web server."""
    os.environ.setdefault("PYTHONWARNINGS", SUPERSEDED)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # `&` ignores it, but Dagster stops its parts with it
    address = ["--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", "--module-name", DEFINITIONS, *address])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/dagster", description=__doc__, formatter_class=as_written)
    commands = parser.add_subparsers(dest="command", required=True, metavar="ui | run")
    pages = commands.add_parser("ui", help="serve Dagster's pages")
    pages.add_argument("--host", metavar="H", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    pages.add_argument("--port", metavar="N", type=int, default=3000, help="default: 3000")
    run = commands.add_parser("run", help="run a job")
    run.add_argument("job", nargs="?", default="warehouse", help="warehouse (the default), or a feed to fetch")
    return parser.parse_args()


def prepare_home() -> None:
    """Create DAGSTER_HOME with the project's dagster.yaml."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(ROOT / ".dagster"))).resolve()
    os.environ["DAGSTER_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    is_ours = home == ROOT / ".dagster"  # other homes keep their own settings
    if is_ours or not (home / "dagster.yaml").exists():
        shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")


if __name__ == "__main__":
    run_main(main)
