"""Run the warehouse in Dagster (orchestration/dagster), which remembers its runs in DAGSTER_HOME (default: .dagster).

    bin/dagster ui                Dagster's pages, until Ctrl-C
    bin/dagster run               load what is new and build everything, without pages; exit code 1 if anything fails
    bin/dagster run market        fetch, load and build the market feed

Whoever reaches the pages can start runs, so other hosts belong behind a proxy that asks who they are: see
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

from granary.project import ROOT, GranaryError, check_address, check_packages, load_env, run_main

PROJECT = ROOT / "orchestration" / "dagster"
DEFINITIONS = "granary_dagster.definitions"
SUPERSEDED = "ignore:Function `dev_command` is superseded"  # by a command of another package, which does the same


def main() -> int:
    """Run a job, and return its exit code; or become Dagster's web server."""
    options = parse_arguments()
    load_env()
    check_packages("dagster", "dagster", "dagster_dbt")
    if options.command == "ui":
        check_address(options.host, options.port)
    prepare_home()
    parse_project()
    if options.command == "ui":
        serve(options.host, options.port)
    return run_apart([sys.executable, "-m", "granary_dagster.headless", options.job])


def run_apart(command: list[str]) -> int:
    """Run a command in a session of its own, and return its exit code; what ends this process ends the command, too.

    In one session, Ctrl-C would reach the helpers that Dagster starts, which answer with tracebacks.
    """
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda number, _: sys.exit(128 + number))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with `&` would ignore it
    tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    process = subprocess.Popen([*tied, *command], start_new_session=True)
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()
        with contextlib.suppress(ProcessLookupError):  # there was nobody left
            os.killpg(process.pid, signal.SIGTERM)


def serve(host: str, port: int) -> NoReturn:
    """Become Dagster's web server."""
    os.environ.setdefault("PYTHONWARNINGS", SUPERSEDED)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # `&` ignores it, and by it Dagster stops its parts
    address = ["--host", host, "--port", str(port)]
    os.execv(sys.executable, [sys.executable, "-m", "dagster", "dev", "--module-name", DEFINITIONS, *address])


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/dagster", description=__doc__, formatter_class=as_written)
    commands = parser.add_subparsers(dest="command", required=True, metavar="ui | run")
    pages = commands.add_parser("ui", help="serve Dagster's pages")
    pages.add_argument("--host", metavar="H", default="127.0.0.1", help="address to serve (default: 127.0.0.1)")
    pages.add_argument("--port", metavar="N", type=int, default=3000, help="default: 3000")
    run = commands.add_parser("run", help="run a job")
    run.add_argument("job", nargs="?", choices=("warehouse", "market"), default="warehouse", help="default: warehouse")
    return parser.parse_args()


def prepare_home() -> None:
    """Make DAGSTER_HOME, with the project's settings of the instance."""
    home = Path(os.environ.setdefault("DAGSTER_HOME", str(ROOT / ".dagster"))).resolve()
    os.environ["DAGSTER_HOME"] = str(home)
    home.mkdir(parents=True, exist_ok=True)
    is_ours = home == ROOT / ".dagster"  # in a home of one's own, the settings are one's own, too
    if is_ours or not (home / "dagster.yaml").exists():
        shutil.copyfile(PROJECT / "dagster.yaml", home / "dagster.yaml")


def parse_project() -> None:
    """Bring dbt's manifest up to date: it is where Dagster reads which models and tests there are."""
    parsed = subprocess.run([ROOT / "bin" / "dbt", "--quiet", "parse"], capture_output=True, text=True, check=False)
    if parsed.returncode:
        raise GranaryError(f"bin/dbt parse failed:\n{(parsed.stdout + parsed.stderr).strip()}")


if __name__ == "__main__":
    run_main(main)
