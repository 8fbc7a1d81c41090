"""The PostgreSQL server that comes with the project: create it, start it on first use, stop it.

Its home is one directory of mode 0700, which holds cluster/ (PostgreSQL's data), the log, and the socket. PostgreSQL
asks for no password at the socket, which is safe because only the owner (and root) can reach it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2

from granary.project import GranaryError
from granary.server.home import home, make_home, make_socket_directory, real_home, socket_directory
from granary.server.programs import program, run_as_owner

START_TIMEOUT = 60  # seconds
SETTINGS = Path(__file__).with_name("postgresql.conf")


def start() -> Path:
    """Start the embedded server if it isn't running; return the directory of its socket. Safe to call at any time."""
    if socket := answering_socket(real_home()):
        return socket
    with starts_in_turn():
        real = make_home(home())
        if not (real / "cluster").exists():
            create_cluster(real)
        if socket := wait_for_running_server(real):
            return socket
        socket = make_socket_directory(real)
        for stale in (real / "cluster" / "postmaster.pid", socket / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)  # see wait_for_running_server
        options = {"listen_addresses": "", "unix_socket_directories": '"{}"'.format(str(socket).replace('"', '""'))}
        quoted = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in options.items())
        pg_ctl(real, "start", "--log", str(real / "log"), "--options", f"-p 5432 {quoted}")
        return socket


def stop() -> bool:
    """Stop the embedded server; return whether it was running."""
    real = real_home()
    if not server_processes(real):
        return False
    with starts_in_turn():
        pg_ctl(real, "stop", "--mode", "fast")
        if socket_directory(real) != real:
            shutil.rmtree(socket_directory(real), ignore_errors=True)
    return True


@contextlib.contextmanager
def starts_in_turn() -> Iterator[None]:
    """Let one process at a time start or stop the server, and explain errors of the system, such as a full disk.

    The lock is on the home's parent, so it leaves no file.
    """
    try:
        home().parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            descriptor = os.open(home().parent, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
    except (OSError, KeyError) as error:  # KeyError: a user id without a name
        raise GranaryError(
            f"can't use the embedded server: {error}\n"
            "Set GRANARY_PGDATA (default: .warehouse in the project) to a writable place with enough room."
        ) from None


def create_cluster(real: Path) -> None:
    """Create the data directory, at first under another name, so that an interrupted attempt is repeated."""
    new = real / "cluster.new"
    shutil.rmtree(new, ignore_errors=True)
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [program(real, "initdb"), "--pgdata", str(new), "--username=granary", "--auth=trust", *locale]
    done = run_as_owner(real, command)
    if done.returncode == 0:
        with (new / SETTINGS.name).open("a") as file:
            file.write(SETTINGS.read_text())
        command = [program(real, "postgres"), "--single", "-D", str(new), "postgres"]
        done = run_as_owner(real, command, input="create database granary\n")
    if done.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise GranaryError(
            f"can't create the embedded server's data in {real} (set GRANARY_PGDATA to use another place):\n"
            f"{last_lines(done.stderr)}"
        )
    new.rename(real / "cluster")


def wait_for_running_server(real: Path) -> Path | None:
    """Wait for a server that is starting; return the directory of its socket, or None once no process is left.

    After a kill -9 of the postmaster, its children live on for a moment. PostgreSQL must not be started beside them, so
    its stale lock files may be removed only when they are gone. The pid in these files isn't enough to tell: by now it
    may belong to another program, or to a process that nobody has reaped.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while server_processes(real):
        if socket := answering_socket(real):
            return socket
        if time.monotonic() > deadline:
            pids = ", ".join(map(str, server_processes(real)))
            raise GranaryError(
                f"the embedded server (pid {pids}) doesn't answer: see its log, {real}/log, or try bin/warehouse stop."
            )
        time.sleep(0.05)
    return None


def server_processes(real: Path) -> list[int]:
    """Return the ids of the server's processes: all of them have the data directory as their working directory."""
    cluster = str(real / "cluster")
    return [
        process.pid
        for process in psutil.process_iter(["name", "cwd"])
        if process.info["name"] == "postgres" and process.info["cwd"] == cluster
    ]


def answering_socket(real: Path) -> Path | None:
    """Return the directory of the socket on which the server answers, or None."""
    try:
        lines = (real / "cluster" / "postmaster.pid").read_text().splitlines()
    except OSError:
        return None
    if answers(socket_directory(real)):
        return socket_directory(real)
    # If the project was moved while its server runs, the socket is where PostgreSQL noted it. (In a copied project, the
    # note leads to the original's server, which has another working directory.)
    noted = Path(lines[4]) if len(lines) > 4 else None
    return noted if noted and server_processes(real) and answers(noted) else None


def answers(socket: Path) -> bool:
    """Return whether a server accepts connections on the socket in this directory."""
    with contextlib.suppress(psycopg2.OperationalError):
        psycopg2.connect(host=str(socket), port=5432, user="granary", dbname="postgres", connect_timeout=5).close()
        return True
    return False


def pg_ctl(real: Path, action: str, *arguments: str) -> None:
    """Run pg_ctl on the cluster; raise GranaryError with the last lines of the log if it fails."""
    options = ["--pgdata", str(real / "cluster"), "--wait", f"--timeout={START_TIMEOUT}"]
    done = run_as_owner(real, [program(real, "pg_ctl"), action, *options, *arguments])
    if done.returncode != 0:
        log = real / "log"
        said = last_lines(log.read_text(errors="replace")) if log.exists() else last_lines(done.stderr)
        raise GranaryError(f"the embedded server didn't {action}. The end of its log, {log}:\n{said}")


def last_lines(text: str, count: int = 8) -> str:
    """Return the end of a text."""
    return "\n".join(text.strip().splitlines()[-count:])
