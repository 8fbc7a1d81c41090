"""The PostgreSQL server that comes with the project: create it, start it on first use, stop it.

One server at a time works on a home, in whatever container or PID namespace it runs. It holds the lock on the file
`lock` in the home, which it inherits from the process that starts it, and which the kernel frees when the server's last
process has ended. The pid in postmaster.pid tells less: by now it may belong to another program, or to a server in
another namespace.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import json
import os
import re
import shlex
import socket
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2

from granary.project import GranaryError
from granary.server.home import (
    home,
    make_home,
    make_socket_directory,
    read_in_home,
    real_home,
    socket_directory,
    write_in_home,
)
from granary.server.programs import check_version, program, run_as_owner

PATIENCE = 60  # seconds that a server may take to answer
SETTINGS = Path(__file__).with_name("postgresql.conf")
ENDED = "the embedded server ended as soon as it was started"


def start() -> Path:
    """Start the embedded server if it isn't running; return the directory of its socket. Safe to call at any time."""
    if found := answering_socket(real_home()):
        return found
    with starts_in_turn():
        real = make_home(home())
        deadline, launched = time.monotonic() + PATIENCE, False
        while True:
            if (lock := free_lock(real)) is not None:
                with contextlib.ExitStack() as stack:
                    stack.callback(os.close, lock)
                    if launched:
                        raise GranaryError(f"{ENDED}. The end of its log, {real}/log:\n{end_of_log(real)}")
                    if not (real / "cluster").exists():
                        create_cluster(real, real / "cluster", lock)
                    check_version(real)
                    launch(real, lock)
                launched = True
            if found := answering_socket(real):
                return found
            refuse_held_elsewhere(real)
            if stopped_process(real) or time.monotonic() > deadline:
                raise GranaryError(silent(real))
            time.sleep(0.05)


def stop() -> bool:
    """Stop the embedded server; return whether it was running."""
    real = real_home()
    refuse_held_elsewhere(real)
    if not server_processes(real):
        return False
    with starts_in_turn():
        if stopped := stopped_process(real):
            raise GranaryError(stopped)
        if not postmaster_runs(real, noted_by_postmaster(real)):
            end_orphans(real)
            return True
        # A fast shutdown ends with a checkpoint, which would be noted where the server was started.
        is_moved = noted_by_postmaster(real)[1:2] != [str(real / "cluster")]
        mode = "immediate" if is_moved else "fast"
        options = ["--pgdata", str(real / "cluster"), "--wait", f"--timeout={PATIENCE}", "--mode", mode]
        if run_as_owner(real, [program(real, "pg_ctl"), "stop", *options]).returncode != 0:
            raise GranaryError(f"the embedded server didn't stop. The end of its log, {real}/log:\n{end_of_log(real)}")
        if socket_directory(real) != real:
            run_as_owner(real, ["rm", "-rf", str(socket_directory(real))])
    return True


def end_orphans(real: Path) -> None:
    """End the processes of a server whose postmaster was killed: a busy one may take hours to notice."""
    for end in (psutil.Process.terminate, psutil.Process.kill):
        processes = server_processes(real)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(processes, timeout=10)


@contextlib.contextmanager
def starts_in_turn() -> Iterator[None]:
    """Let one process at a time start or stop the server, and explain errors of the system, such as a full disk.

    The lock is on the home's parent, so it leaves no file, and also holds while there is no home.
    """
    try:
        home().parent.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:
            descriptor = os.open(home().parent, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            wait_for_turn(descriptor)
            yield
    except (OSError, KeyError) as error:  # KeyError: a user id without a name
        raise GranaryError(
            f"can't use the embedded server: {error}\n"
            "Set GRANARY_PGDATA (default: .warehouse in the project) to a writable place with enough room."
        ) from None


def wait_for_turn(descriptor: int) -> None:
    """Lock an open file; say so if that takes long, as beside an upgrade."""
    for _ in range(40):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.05)
    print("waiting for a command that starts, stops or upgrades the server ...", file=sys.stderr, flush=True)
    return fcntl.flock(descriptor, fcntl.LOCK_EX)


# -- Create and launch -------------------------------------------------------------------------------------------------


def create_cluster(real: Path, cluster: Path, lock: int) -> None:
    """Create a data directory, at first under another name, so that an interrupted attempt is repeated.

    The programs inherit the lock, so that the next attempt waits for those of one that was killed.
    """
    new = real / "cluster.new"
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    steps = [
        (["rm", "-rf", str(new)], ""),
        ([program(real, "initdb"), "--pgdata", str(new), "--username=granary", "--auth=trust", *locale], ""),
        (["tee", "-a", str(new / SETTINGS.name)], SETTINGS.read_text()),
        ([program(real, "postgres"), "--single", "-D", str(new), "postgres"], "create database granary\n"),
        (["mv", str(new), str(cluster)], ""),
    ]
    for command, given in steps:
        done = run_as_owner(real, command, input=given, pass_fds=[lock])
        if done.returncode != 0:
            run_as_owner(real, ["rm", "-rf", str(new)])
            raise GranaryError(
                f"can't create the embedded server's data in {real} (set GRANARY_PGDATA to use another place):\n"
                + "\n".join(done.stderr.strip().splitlines()[-8:])
            )


def launch(real: Path, lock: int) -> None:
    """Start the server's process, which inherits the lock, and return at once."""
    command = [*despite_stale_pid(real), *server_command(real, real / "cluster", program(real, "postgres"))]
    background = 'umask 077; exec "$@" </dev/null >>"$0" 2>&1 &'
    run_as_owner(real, ["sh", "-c", background, str(real / "log"), *command], pass_fds=[lock], start_new_session=True)


def server_command(directory: Path, cluster: Path, postgres: str) -> list[str]:
    """Return the command that serves a data directory on the socket of a directory, and make way for that socket."""
    sockets = make_socket_directory(directory)
    quoted = str(sockets).replace('"', '""')
    run_as_owner(cluster, ["rm", "-f", str(sockets / ".s.PGSQL.5432.lock")])  # may name another pid than postmaster.pid
    options = ["-c", "listen_addresses=", "-c", f'unix_socket_directories="{quoted}"']
    return [postgres, "-D", str(cluster), "-p", "5432", *options]


def despite_stale_pid(real: Path) -> list[str]:
    """Return a prefix for the command of a server, for those who hold the lock.

    The server that postmaster.pid names has ended then, whatever has its pid by now. PostgreSQL takes the file for
    stale if the pid is its grandparent's, and still looks for processes that share its memory.
    """
    stale = noted_by_postmaster(real)[:1]
    return ["env", *(f"PG_GRANDPARENT_PID={pid}" for pid in stale if pid.isdecimal())]


def end_of_log(real: Path) -> str:
    """Return the last lines of the server's log."""
    return run_as_owner(real, ["tail", "-n", "8", str(real / "log")]).stdout.strip()


# -- Who holds the home ------------------------------------------------------------------------------------------------


def free_lock(real: Path) -> int | None:
    """Return a file descriptor that holds the home's lock, or None if a server, or a start of one, has it.

    A server that was started without the lock (by hand, or by an earlier version) counts as holding it.
    """
    path = real / "lock"
    if not path.exists():
        write_in_home(real, "lock", "")
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"{path} isn't a file: remove it")
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if server_processes(real):
            raise BlockingIOError
        make_way(real)
        now = f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC"
        write_in_home(real, "lock", json.dumps({"host": socket.gethostname(), "place": place(), "since": now}))
    except BaseException as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            return None
        raise
    return descriptor


def make_way(real: Path) -> None:
    """Raise GranaryError if a server that was started in this home runs on with data that were moved; end one without.

    PostgreSQL goes on writing its control file to, and in the end removes its socket from, where it was started.
    """
    for process in postgres_processes():
        with contextlib.suppress(OSError, psutil.Error):
            if str(real / "cluster") not in process.cmdline():
                continue
            data = Path(process.cwd())
            if works_in(process, data):  # in a container, the path may be that of another directory
                raise GranaryError(
                    f"a server that was started in {real} is still running, and its data were moved to {data.parent}:"
                    f" it would\ndamage those of another one here. Stop it first:\n"
                    f"  GRANARY_PGDATA={shlex.quote(str(data.parent))} bin/warehouse stop"
                )
            if not Path(f"/proc/{process.pid}/cwd").stat().st_nlink:  # the data were removed
                process.kill()  # in order, it would write a checkpoint and remove the socket


def place() -> str:
    """Return what tells this machine and PID namespace from others; empty where the system has no such names."""
    with contextlib.suppress(OSError):
        boot, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
        return f"{boot.read_text().strip()} {namespace.readlink()}"
    return ""


def is_held(real: Path) -> bool:
    """Return whether a server, or a start of one, has the home's lock."""
    try:
        with os.fdopen(os.open(real / "lock", os.O_RDONLY | os.O_NONBLOCK)) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no server has been started yet
        pass
    return False


def refuse_held_elsewhere(real: Path) -> None:
    """Raise GranaryError if a server of another container, PID namespace or machine holds the home."""
    with contextlib.suppress(OSError, ValueError):  # ValueError: it is being written
        holder = json.loads(read_in_home(real, "lock"))
        if holder["place"] != place() and is_held(real):
            raise GranaryError(
                f"{real} is in use since {holder['since']} by a server on the host {holder['host']!r}, which is another"
                " machine, container or PID namespace.\nStop it there (bin/warehouse stop), or set GRANARY_PGDATA to"
                " another directory."
            )


def server_processes(real: Path) -> list[psutil.Process]:
    """Return the server's processes in this PID namespace: their working directory is the data directory."""
    return [process for process in postgres_processes() if works_in(process, real / "cluster")]


def postgres_processes() -> list[psutil.Process]:
    """Return the processes of all PostgreSQL servers in this PID namespace."""
    return [process for process in psutil.process_iter(["name"]) if process.info["name"] == "postgres"]


def works_in(process: psutil.Process, directory: Path) -> bool:
    """Return whether this is the process's working directory, which may have other paths (such as a bind mount's)."""
    with contextlib.suppress(OSError, psutil.Error):
        return directory.samefile(f"/proc/{process.pid}/cwd" if psutil.LINUX else process.cwd())
    return False


def users_of(real: Path) -> str:
    """Return who holds how many of the server's sessions, and what they do, as the names of its processes tell."""
    sessions: Counter[str] = Counter()
    for process in server_processes(real):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            # `postgres: granary granary [local] idle in transaction`
            if found := re.match(r"postgres: (\S+) \S+ \S+ (\S.*?)\s*$", " ".join(process.cmdline())):
                sessions[f"{found[1]} ({found[2]})"] += 1
    return ", ".join(f"{count} by {who}" for who, count in sessions.most_common())


def stopped_process(real: Path) -> str:
    """Return which process of the server was stopped by a signal and how it goes on; empty if none was."""
    for process in server_processes(real):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_STOPPED:
                return (
                    f"the embedded server is running, but its process {process.pid} was stopped (SIGSTOP) and doesn't"
                    f" answer.\nLet it go on with: kill -CONT {process.pid}"
                )
    return ""


def silent(real: Path) -> str:
    """Return why a server that runs doesn't answer, and the way out."""
    pids = ", ".join(str(process.pid) for process in server_processes(real))
    return stopped_process(real) or (
        f"the embedded server ({f'pid {pids}' if pids else 'starting'}) is running, but doesn't answer: it is starting,"
        f" recovering after a crash, overloaded, or has lost its socket.\nTry again later, see its log, {real}/log, or"
        " restart it: bin/warehouse stop, then bin/warehouse start."
    )


def answering_socket(real: Path) -> Path | None:
    """Return the directory of the socket on which the server answers, or None."""
    noted = noted_by_postmaster(real)
    if not noted:
        return None
    found = socket_directory(real)
    if not answers(found):
        # If the project was moved while its server runs, the socket is where PostgreSQL noted it. But a copied project
        # has a copy of its original's note, and another server may have been started in the old place.
        if len(noted) < 5 or not postmaster_runs(real, noted):
            return None
        own = (str(found), str(socket_directory(real / "cluster")))  # the latter is an upgrade's, and for nobody else
        if noted[4] in own or not answers(found := Path(noted[4]), noted):
            return None
    refuse_held_elsewhere(real)
    return found


def noted_by_postmaster(real: Path) -> list[str]:
    """Return the lines of postmaster.pid, which PostgreSQL alone writes and removes; none if it isn't there."""
    with contextlib.suppress(OSError):
        return (real / "cluster" / "postmaster.pid").read_text().splitlines()
    return []


def postmaster_runs(real: Path, noted: list[str]) -> bool:
    """Return whether the process that postmaster.pid, of these lines, names is one of this home's server.

    The lines are those that the caller goes by: a server that is starting replaces those of a copied home's original.
    """
    return noted[:1] in [[str(process.pid)] for process in server_processes(real)]


def answers(directory: Path, noted: list[str] | None = None) -> bool:
    """Return whether a server answers on the socket in this directory: with a session, or that it has none left.

    With the lines of a postmaster.pid, only the server that has written it counts.
    """
    parameters = {"host": str(directory), "port": 5432, "user": "granary", "dbname": "postgres", "connect_timeout": 5}
    try:
        with contextlib.closing(psycopg2.connect(**parameters)) as connection, connection.cursor() as cursor:
            if noted:
                cursor.execute("select pg_read_file('postmaster.pid')")
                return cursor.fetchone()[0].splitlines()[:3] == noted[:3]  # pid, data directory, start
    except psycopg2.OperationalError as error:  # without a code, but our server speaks English
        return "FATAL:" in str(error) and "the database system is" not in str(error)  # starting up, in recovery, ...
    return True
