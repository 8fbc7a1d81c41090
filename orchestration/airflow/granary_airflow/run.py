"""Run the warehouse in Airflow: once, without a screen, or as a web page with a schedule.

usage: bin/airflow run [DATE] | serve [--port N] | <any arguments of airflow>

  run [DATE]        run the DAG once, as of a date (2026-02-03; default: today, in UTC); exit code 1 when a task fails
  serve [--port N]  serve its pages at http://127.0.0.1:8080 and run it each day, until Ctrl-C
  anything else     is Airflow's own:  bin/airflow dags list

The DAG is in orchestration/airflow/dags. Airflow has a virtual environment of its own (.venv-airflow; `make airflow`
installs it), and keeps its logs and its history in .airflow, or where GRANARY_AIRFLOW_HOME says. Of `run` and `serve`,
one works at a time: the next one waits.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, TextIO

import psutil
import requests

from granary.project import ROOT, GranaryError, check_address, load_env, run_main

AIRFLOW = ROOT / ".venv-airflow" / "bin" / "airflow"
DAG = "granary"
PARTS = {
    "api-server": [],  # first, because tasks ask it, and there may be some that were interrupted
    "scheduler": ["--skip-serve-logs"],  # else on all addresses; the pages read the files themselves
    "dag-processor": [],
    "triggerer": ["--skip-serve-logs"],
}


def main() -> int:
    """Do what the arguments say and return the exit code."""
    command, *arguments = sys.argv[1:] or ["--help"]
    if command in ("--help", "-h"):
        print(__doc__.strip())
        return 0
    load_env()
    if not AIRFLOW.exists():
        raise GranaryError("Airflow isn't installed yet:  make airflow, or  scripts/setup.sh --airflow")
    if command not in ("run", "serve"):
        os.execve(AIRFLOW, [AIRFLOW, command, *arguments], environment())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts with `&` would ignore it
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda number, _: sys.exit(128 + number))
    return run_once(arguments) if command == "run" else serve(arguments)


def home() -> Path:
    """Return the directory of Airflow's logs and history."""
    return Path(os.environ.get("GRANARY_AIRFLOW_HOME") or ROOT / ".airflow").absolute()


def environment(port: int = 8080) -> dict[str, str]:
    """Return the environment for Airflow: this project's settings, and none of another Airflow.

    Airflow writes its settings into a file when it first runs. The paths among them are said here again, so that the
    project can be moved.
    """
    settings = {
        "CORE__DAGS_FOLDER": ROOT / "orchestration" / "airflow" / "dags",
        "CORE__PLUGINS_FOLDER": home() / "plugins",
        "CORE__LOAD_EXAMPLES": False,
        "CORE__PARALLELISM": 4,  # else 32 processes wait for work, and the DAG is a chain
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
        | {"no_proxy": direct, "NO_PROXY": direct}  # tasks ask the API, which no proxy can reach
        | {"AIRFLOW_HOME": str(home()), "PATH": f"{AIRFLOW.parent}:{os.environ.get('PATH', os.defpath)}"}
    )


@contextlib.contextmanager
def turn(patience: float) -> Iterator[None]:
    """Wait until no other run or server uses Airflow's home, and prepare its database; leave no process behind.

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
                raise GranaryError(f"Airflow can't prepare its database in {home()}:\n{log.read()}")
        yield


def start(arguments: list[str], variables: dict[str, str], log: TextIO | None = None) -> subprocess.Popen:
    """Start Airflow, with its words in `log`; it ends with this process, even with a sudden end."""
    tied = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
    process = subprocess.Popen(
        [*tied, str(AIRFLOW), *arguments],
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for this process, which stops the others in order
    )
    with (home() / "sessions").open("a") as sessions:
        sessions.write(f"{process.pid}\n")
    return process


def stop_children(patience: float) -> None:
    """End all processes that were started from here: politely, and after some seconds by force."""
    processes = psutil.Process().children(recursive=True)  # the server of the warehouse is nobody's child
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    left = psutil.wait_procs(processes, timeout=patience)[1]
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=10)


def end_leftovers() -> None:
    """End what is left of a server that was killed: its scheduler's workers outlive it, and wait for ever."""
    path = home() / "sessions"
    sessions = set(path.read_text().split()) if path.exists() else set()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            is_airflow = process.name().startswith("airflow")  # numbers of sessions are given out again
            if is_airflow and str(os.getsid(process.pid)) in sessions:
                process.kill()
    path.unlink(missing_ok=True)


# -- A run -------------------------------------------------------------------------------------------------------------


def run_once(arguments: list[str]) -> int:
    """Run the DAG once and return the exit code."""
    parser = argparse.ArgumentParser("bin/airflow run")
    parser.add_argument("date", nargs="?", default=f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}")
    date = parser.parse_args(arguments).date
    if not re.fullmatch(r"(19[7-9]|2\d\d)\d-\d\d-\d\d", date) or not is_day(date):
        raise GranaryError(f"{date} is no date of a run; write it like 2026-02-03")
    quiet = {  # Airflow's own lines would drown those of the commands: tracebacks, and each second of a pause
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "task=CRITICAL",
        "PYTHONWARNINGS": "ignore",
    }
    with turn(patience=1):  # a task that runs in this way ignores SIGTERM
        return start(["dags", "test", DAG, date], environment() | quiet).wait()


def is_day(text: str) -> bool:
    """Tell whether the calendar has the day."""
    with contextlib.suppress(ValueError):
        return bool(datetime.date.fromisoformat(text))
    return False


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
        raise GranaryError(f"Airflow's {ended[0]} has ended; its last words are in {home() / ended[0]}.log")


def start_part(name: str, port: int) -> subprocess.Popen:
    """Start a part of Airflow, with its words in a file."""
    with (home() / f"{name}.log").open("w") as log:
        return start([name, *PARTS[name]], environment(port), log)


def health_at(port: int) -> dict[str, Any]:
    """Return what Airflow says of its parts; nothing until it answers."""
    with contextlib.suppress(requests.RequestException, ValueError), requests.Session() as session:
        session.trust_env = False  # no proxy leads to this machine
        return session.get(f"http://127.0.0.1:{port}/api/v2/monitor/health", timeout=5).json()
    return {}


if __name__ == "__main__":
    run_main(main)
