"""Copy the embedded server's data to a newer major version of PostgreSQL, which can't read those of an older one.

The old data stay beside the new ones, until their owner removes them.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from granary.process import tied
from granary.project import GranaryError
from granary.server.embedded import (
    PATIENCE,
    answering_socket,
    answers,
    create_cluster,
    despite_stale_pid,
    free_lock,
    refuse_held_elsewhere,
    server_command,
    silent,
    starts_in_turn,
    stopped_process,
)
from granary.server.home import real_home, socket_directory
from granary.server.programs import (
    as_owner,
    check_version,
    installed,
    major_version,
    newest,
    program,
    run_as_owner,
    version_of_data,
)
from granary.text import counted

PLACES = ("/usr/lib/postgresql/{0}/bin", "/usr/pgsql-{0}/bin", "/opt/homebrew/opt/postgresql@{0}/bin")
# Without one whose removal was interrupted (-2), which nobody can read any more
DATABASES = "select datname from pg_database where not datistemplate and datconnlimit <> -2 order by datname"
TABLES = """
    select table_schema, table_name from information_schema.tables
    where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')
"""
# $1 and $2 are the sockets of the two servers, $3 and $4 pg_dump (or pg_dumpall) and psql, $5 is a database
RESTORE = """
    "$4" --username=granary --host="$2" --dbname="$5" --no-psqlrc --quiet --output=/dev/null --set=ON_ERROR_STOP=1
"""
COPY_ROLES = f"""
    "$3" --username=granary --host="$1" --roles-only | grep -v '^CREATE ROLE granary;$' | {RESTORE.strip()}
"""
# --create brings the rights and settings of the database, too. It has been created before, with the locale of the new
# data, which the older version may lack.
COPY_DATABASE = f"""
    "$3" --username=granary --host="$1" --dbname="$5" --create |
    sed '1,/^CREATE DATABASE /{{/^CREATE DATABASE /d;}}' | {RESTORE.strip()}
"""


def upgrade(programs: Path | None = None) -> None:
    """Upgrade the data in the home, and print what was done; `programs` is the folder of the old version's programs."""
    real = real_home()
    cluster, upgraded = real / "cluster", real / "cluster.upgraded"
    with starts_in_turn(), contextlib.ExitStack() as stack:
        interrupted = upgraded.exists() and any(real.glob("cluster.[0-9]*"))  # between the last two steps below
        if not (cluster.exists() or interrupted):
            raise GranaryError(f"there are no data in {real}")
        refuse_held_elsewhere(real)
        lock = lock_of_stopped_server(real)
        stack.callback(os.close, lock)
        if not cluster.exists():
            rename(real, upgraded, cluster)
        old, new = version_of_data(real), max(installed())
        if old > new:
            check_version(real)
        if old == new:
            print(f"the data in {real} are those of PostgreSQL {new} already")
            return
        kept = real / f"cluster.{old}"
        if kept.exists():
            raise GranaryError(f"{kept} is in the way, the data of an earlier upgrade: remove it, or move it away")
        old_programs = find_programs(old, programs)
        print(f"copying {real} from PostgreSQL {old} to {new} ...", flush=True)
        run_as_owner(real, ["rm", "-rf", str(upgraded)])
        try:
            create_cluster(real, upgraded, lock)
            with (
                serving(real, cluster, old_programs, lock) as source,
                serving(real, upgraded, newest(), lock) as target,
            ):
                tables, rows = copy(real, source, target)
        except BaseException as error:
            run_as_owner(real, ["rm", "-rf", str(upgraded)])  # half a copy may have filled the disk
            if isinstance(error, psycopg2.Error):
                raise GranaryError(f"the data can't be copied; the old ones are as they were:\n{error}") from None
            raise
        rename(real, cluster, kept)
        rename(real, upgraded, cluster)
    print(f"copied {counted(tables, 'table')} with {counted(rows, 'row')}; the old data stay in {kept}")
    print("remove them when the new ones have proved themselves")


def lock_of_stopped_server(real: Path) -> int:
    """Return a file descriptor with the home's lock; raise GranaryError if its server runs.

    The servers of an upgrade that was killed are waited for: they are about to end.
    """
    deadline = time.monotonic() + PATIENCE
    while (lock := free_lock(real)) is None:
        if answering_socket(real):
            raise GranaryError("the embedded server is running: stop it first, with bin/warehouse stop")
        if stopped_process(real) or time.monotonic() > deadline:
            raise GranaryError(silent(real))
        time.sleep(0.05)
    return lock


def find_programs(major: int, given: Path | None) -> Path:
    """Return the folder with the programs of a major version; raise GranaryError if there is none."""
    for folder in [given] if given else [installed().get(major), *(Path(place.format(major)) for place in PLACES)]:
        if folder and (folder / "postgres").exists() and major_version(folder / "postgres") == major:
            return folder
    where = f"in {given}" if given else "on this machine"
    raise GranaryError(
        f"the programs of PostgreSQL {major} are needed to read the data, and there are none {where}.\n"
        f"Install PostgreSQL {major} (on Debian: apt install postgresql-{major}), then run:\n"
        "  bin/warehouse upgrade <the directory with its program postgres>"
    )


@contextlib.contextmanager
def serving(real: Path, cluster: Path, programs: Path, lock: int) -> Iterator[str]:
    """Run a server on a data directory and give the directory of its socket: not the home, so no other command uses it.

    It ends when this process does, and holds the home's lock until then.
    """
    directory = socket_directory(cluster)
    command = server_command(cluster, cluster, program(real, "postgres", programs))
    command = [*tied("INT"), *despite_stale_pid(real), *command]
    with tempfile.TemporaryFile("w+") as log:
        server = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[lock], **as_owner(real)
        )
        try:
            deadline = time.monotonic() + PATIENCE
            while not answers(directory):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise GranaryError(f"a server can't be started on {cluster}:\n{log.read().strip()}")
                time.sleep(0.05)
            yield str(directory)
        finally:
            server.send_signal(signal.SIGINT)  # a fast shutdown
            server.wait()
            if directory != cluster:
                run_as_owner(real, ["rm", "-rf", str(directory)])


def copy(real: Path, source: str, target: str) -> tuple[int, int]:
    """Copy the roles and all databases; return the numbers of tables and of rows, which are the same in both."""
    run_script(real, COPY_ROLES, source, target, "pg_dumpall", "postgres")
    tables = rows = 0
    created = databases(target)
    for name in databases(source):
        if name not in created:
            with contextlib.closing(connect(target, "postgres")) as connection, connection.cursor() as cursor:
                create = "create database {} template template0 encoding 'UTF8'"
                cursor.execute(sql.SQL(create).format(sql.Identifier(name)))
        with opened(source, target, name):
            run_script(real, COPY_DATABASE, source, target, "pg_dump", name)
            before, after = counts(source, name), counts(target, name)
            with contextlib.closing(connect(target, name)) as connection, connection.cursor() as cursor:
                cursor.execute("analyze")  # what the planner knows of the tables isn't copied
        if before != after:
            different = sorted(".".join(table) for table, count in before.items() if after.get(table) != count)
            raise GranaryError(f"not all rows were copied ({', '.join(different)}); the old data are as they were")
        if after:
            print(f"  {name}: {counted(len(after), 'table')}, {counted(sum(after.values()), 'row')}", flush=True)
        tables, rows = tables + len(after), rows + sum(after.values())
    return tables, rows


@contextlib.contextmanager
def opened(source: str, target: str, database: str) -> Iterator[None]:
    """Let a database that refuses connections have some while it is copied; the copy refuses them, too."""
    with contextlib.closing(connect(source, "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute("select datallowconn from pg_database where datname = %s", [database])
        (is_open,) = cursor.fetchone()
    if not is_open:
        allow_connections(source, database, True)
    try:
        yield
    finally:
        if not is_open:
            allow_connections(source, database, False)
    if not is_open:
        allow_connections(target, database, False)


def allow_connections(socket: str, database: str, allowed: bool) -> None:
    """Let a database accept connections, or refuse them."""
    with contextlib.closing(connect(socket, "postgres")) as connection, connection.cursor() as cursor:
        statement = sql.SQL("alter database {} allow_connections {}")
        cursor.execute(statement.format(sql.Identifier(database), sql.Literal(allowed)))


def run_script(real: Path, script: str, source: str, target: str, dump: str, database: str) -> None:
    """Run a script that pipes what a program of the newer version dumps from one server into the other."""
    words = [source, target, program(real, dump), program(real, "psql"), database]
    done = run_as_owner(real, ["bash", "-c", f"set -o pipefail\n{script}", "copy", *words])
    if done.returncode != 0:
        raise GranaryError(f"the data can't be copied; the old ones are as they were:\n{done.stderr.strip()}")


def databases(socket: str) -> list[str]:
    """Return the names of the databases, except for templates."""
    with contextlib.closing(connect(socket, "postgres")) as connection, connection.cursor() as cursor:
        cursor.execute(DATABASES)
        return [name for (name,) in cursor.fetchall()]


def counts(socket: str, database: str) -> dict[tuple[str, str], int]:
    """Return the number of rows of each table."""
    with contextlib.closing(connect(socket, database)) as connection, connection.cursor() as cursor:
        cursor.execute(TABLES)
        found = {}
        for table in cursor.fetchall():
            cursor.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(*table)))
            found[table] = cursor.fetchone()[0]
        return found


def connect(socket: str, database: str) -> psycopg2.extensions.connection:
    """Return a connection to a server by its socket."""
    connection = psycopg2.connect(host=socket, port=5432, user="granary", dbname=database)
    connection.autocommit = True
    return connection


def rename(real: Path, old: Path, new: Path) -> None:
    """Rename a directory of the home, as its owner."""
    done = run_as_owner(real, ["mv", str(old), str(new)])
    if done.returncode != 0:
        raise OSError(done.stderr.strip())
