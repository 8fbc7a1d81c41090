"""Run the warehouse in Airflow: once on the command line, or as a web server with a schedule.

usage: bin/airflow run [DATE] | serve [--port N] | <any arguments of airflow>

  run [DATE]        run the DAG once for a date (2026-02-03; default: today, in UTC); exit code 1 if a task fails
  serve [--port N]  serve Airflow's pages at http://127.0.0.1:8080 and run the DAG daily, until Ctrl-C
  anything else     is passed on to Airflow:  bin/airflow dags list

The DAG is in orchestration/airflow/dags. Airflow has its own virtual environment (.venv-airflow, which `make airflow`
installs), and keeps its logs and history in .airflow or GRANARY_AIRFLOW_HOME. `run` and `serve` take turns: the second
waits for the first to end.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

import psutil
import requests

from granary import engines
from granary.process import end_in_order, tied
from granary.project import ROOT, GranaryError, check_address, load_env, run_main
from granary.text import read_day

AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
DAG = "granary"
PARTS = {
    "api-server": [],  # first: interrupted tasks that are resumed call it
    "scheduler": ["--skip-serve-logs"],  # it would listen on all addresses; the pages read the files themselves
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}


def main() -> int:
    """Run the command that the arguments name and return the exit code."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("--help", "-h"):
        print(__doc__.strip())
        return 0
    load_env()
    engines.check_postgres("Airflow")
    if not AIRFLOW.exists():
        raise GranaryError("this needs Airflow, which isn't installed:  make airflow, or scripts/setup.sh --airflow")
    if command not in ("run", "serve"):
        os.execve(AIRFLOW, [AIRFLOW, command, *arguments], environment())
    end_in_order()
    return run_once(arguments) if command == "run" else serve(arguments)


def home() -> Path:
    """Return the directory of Airflow's logs and history."""
    return Path(os.environ.get("GRANARY_AIRFLOW_HOME") or ROOT / ".airflow").absolute()


def environment(port: int = 8080) -> dict[str, str]:
    """Return the environment for Airflow, with this project's settings and without those of another Airflow.

    Airflow writes its settings to a file when it first runs. Variables override the paths in it, so that the project
    can be moved.
    """
    settings = {
        "CORE__DAGS_FOLDER": ROOT / "orchestration" / "airflow" / "dags",
        "CORE__PLUGINS_FOLDER": home() / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 4,  # instead of 32 idle processes: the DAG is a chain
        "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": True,
        "DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home() / 'airflow.db'}",
        "LOGGING__BASE_LOG_FOLDER": home() / "logs",
        "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": home() / "logs" / "dag_processor",
        "API__HOST": "127.0.0.1",
        "API__PORT": port,
        "API__BASE_URL": f"http://127.0.0.1:{port}",
    }
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW_")}
    direct = ",".join(filter(None, [os.environ.get("no_proxy") or os.environ.get("NO_PROXY"), "127.0.0.1"]))
    return (
        inherited
        | {f"AIRFLOW__{name}": str(value) for name, value in settings.items()}
        | {"no_proxy": direct, "NO_PROXY": direct}  # tasks call the API, which a proxy can't reach
        | {"AIRFLOW_HOME": str(home()), "PATH": f"{AIRFLOW.parent}:{os.environ.get('PATH', os.defpath)}"}
    )


@contextlib.contextmanager
def turn(patience: float) -> Iterator[None]:
    """Wait until no other run or server uses Airflow's home, and migrate its database; stop all processes at the end.

    patience: seconds that processes have to end by themselves
    """
    home().mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home() / "lock").open("w") as lock, contextlib.ExitStack() as stack:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting until the Airflow that is running in {home()} ends ...", file=sys.stderr, flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        end_leftovers()
        stack.callback(stop_children, patience)
        with (home() / "migrate.log").open("w+") as log:
            if start(["db", "migrate"], environment(), log).wait():
                log.seek(0)
                raise GranaryError(f"Airflow can't migrate its database in {home()}:\n{log.read()}")
        yield


def start(arguments: list[str], variables: dict[str, str], log: TextIO | None = None) -> subprocess.Popen:
    """Start Airflow, with its output in `log`; it ends when this process does, even if that is killed."""
    process = subprocess.Popen(
        [*tied("KILL"), str(AIRFLOW), *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C reaches this process only, which stops the others in order
    )
    with (home() / "sessions").open("a") as sessions:
        sessions.write(f"{process.pid}\n")
    return process


def stop_children(patience: float) -> None:
    """Stop all child processes: with SIGTERM, and after `patience` seconds with SIGKILL."""
    processes = psutil.Process().children(recursive=True)  # the warehouse's server is not among them
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    left = psutil.wait_procs(processes, timeout=patience)[1]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def end_leftovers() -> None:
    """Kill the processes of a server that was killed itself: its scheduler's workers would wait for ever."""
    path = home() / "sessions"
    sessions = set(path.read_text().split()) if path.exists() else set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_airflow = process.name().startswith("airflow")  # session ids are reused
            if is_airflow and str(os.getsid(process.pid)) in sessions:
                process.kill()
    path.unlink(missing_ok=True)


# -- A run -------------------------------------------------------------------------------------------------------------


def run_once(arguments: list[str]) -> int:
    """Run the DAG once and return the exit code."""
    parser = argparse.ArgumentParser("bin/airflow run")
    parser.add_argument("date", nargs="?", default=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}")
    date = parser.parse_args(arguments).date
    if not (day := read_day(date)) or not 1970 <= day.year < 3000:
        raise GranaryError(f"invalid date {date!r}: write it like 2026-02-03; the earliest is 1970-01-01")
    quiet = {  # Airflow's tracebacks and countdowns would bury the output of the commands
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "task=CRITICAL",
        "PYTHONWARNINGS": "ignore",
    }
    with turn(patience=1):  # a task of `dags test` ignores SIGTERM
        return start(["dags", "test", DAG, date], environment() | quiet).wait()


# -- The server --------------------------------------------------------------------------------------------------------


def serve(arguments: list[str]) -> NoReturn:
    """Run all parts of Airflow until Ctrl-C, or until one of them ends."""
    parser = argparse.ArgumentParser("bin/airflow serve")
    parser.add_argument("--port", type=int, default=8080)
    port = parser.parse_args(arguments).port
    check_address("127.0.0.1", port)
    with turn(patience=10):
        parts = {"api-server": start_part("api-server", port)}
        is_ready = False
        while not (ended := [name for name, process in parts.items() if process.poll() is not None]):
            health = {} if is_ready else health_at(port)
            if health and len(parts) == 1:
                parts |= {name: start_part(name, port) for name in PARTS if name not in parts}
            elif health and all(part["status"] == "healthy" for part in health.values()):
                print(f"Airflow is at http://127.0.0.1:{port}, without a login. Ctrl-C stops it.", flush=True)
                is_ready = True
            time.sleep(1)
        raise GranaryError(f"Airflow's {ended[0]} has stopped; see {home() / ended[0]}.log")


def start_part(name: str, port: int) -> subprocess.Popen:
    """Start a part of Airflow, with its output in a file."""
    with (home() / f"{name}.log").open("w") as log:
        return start([name, *PARTS[name]], environment(port), log)


def health_at(port: int) -> dict[str, Any]:
    """Return the health of Airflow's parts; empty until it answers."""
    with contextlib.suppress(requests.RequestException, ValueError), requests.Session() as session:
        session.trust_env = False  # not through a proxy
        return session.get(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5).json()
    return {}


if __name__ == "__main__":
    run_main(main)
