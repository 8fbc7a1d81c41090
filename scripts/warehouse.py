"""The warehouse: the PostgreSQL server that everything else uses.

usage: bin/warehouse start | stop | status | env | roles | psql [argument ...] | pg_dump [...] | pg_restore [...]

  start    start the embedded server (every other command starts it when it is needed)
  stop     stop it; the data stays
  status   say what runs where; exit code 3 when the server is stopped
  env      print `export` lines for a shell:  eval "$(bin/warehouse env)"
  roles    create the roles of loaders, builders, readers and the API, with their rights, or bring them up to date
  psql     open psql, or pass its arguments on:  bin/warehouse psql -c 'select 1'
  pg_dump, pg_restore
           back the warehouse up, and bring it back: see docs/deployment.md

Without PGHOST this is an embedded PostgreSQL: private to the project, reached through a unix socket, data in
GRANARY_PGDATA (default .warehouse). With PGHOST (environment or .env), it is the server that you name there.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from embedded_server import answering_socket, program_of_wheel, real_home, socket_directory, start, stop
from project import ROOT, GranaryError, load_env, run_main

API_ROLE = "granary_api"
PASSWORDS = {API_ROLE: "GRANARY_API_PASSWORD", "granary_reader": "GRANARY_READER_PASSWORD"}  # roles that log in
CLIENTS = ("psql", "pg_dump", "pg_restore")
LOCK_KEY = int.from_bytes(b"granary", "big")  # any constant does; this one can be recognised in pg_locks
OLDEST_SERVER = 16  # the first one with pg_input_is_valid(), on which the safe casts stand


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
        f"no PostgreSQL server can be reached at PGHOST={host}, PGPORT={port}. Start it (`docker compose up -d"
        " warehouse` starts the one in docker-compose.yml),\ncorrect the two variables, or unset PGHOST to use the"
        " embedded server."
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
    """Let Ctrl-C through while a query waits: psycopg2 would only notice it at the query's end.

    It closes the connection. With its own wait_select, psycopg2 asks the server to cancel the query, which a server
    ignores that has not received the query yet. Raises GranaryError if the server ends the wait.
    """
    psycopg2.extensions.set_wait_callback(wait)
    try:
        yield
    except psycopg2.OperationalError as error:  # a restart, a timeout, or somebody who cancels the query there
        raise GranaryError(f"the server has ended the wait; try again.\n({str(error).strip()})") from None
    finally:
        psycopg2.extensions.set_wait_callback(None)


def wait(connection: psycopg2.extensions.connection) -> None:
    """Wait until the server has answered."""
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        reads = state == psycopg2.extensions.POLL_READ
        select.select([connection] if reads else [], [] if reads else [connection], [])


# -- Roles -------------------------------------------------------------------------------------------------------------


def create_roles() -> None:
    """Create the roles with their rights, or bring them up to date, once no load or build is running."""
    scripts = ROOT / "scripts"
    try:
        with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
            take_lock(connection, "roles", transaction=True)
            for name in ("raw.sql", "roles.sql"):
                cursor.execute((scripts / name).read_text("utf-8"))
            for role, variable in PASSWORDS.items():
                if password := os.environ.get(variable):
                    # As the server keeps it, so that no log of statements has the password.
                    kept = psycopg2.extensions.encrypt_password(password, role, connection, "scram-sha-256")
                    cursor.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(kept)))
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction) as error:
        raise GranaryError(
            f"the roles can't be created: {str(error).strip()}\n"
            "Run it once with PGUSER set to a user who may create roles (CREATEROLE) and owns the schemas."
        ) from None


def ensure_roles() -> None:
    """Create the roles where this database has none yet."""
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        # In the catalog, which everybody may read: to_regprocedure() fails for those who may not look into the schema.
        cursor.execute(
            "select not exists (select from pg_proc where proname = 'admit' and pronamespace = to_regnamespace('api'))"
        )
        (is_missing,) = cursor.fetchone()
    if is_missing:
        create_roles()


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


def run_client(name: str, arguments: list[str]) -> NoReturn:
    """Become one of PostgreSQL's clients: the wheel's, but the system's psql for a server of one's own."""
    values = environment()
    found = shutil.which(name) if name == "psql" and not is_embedded() else None
    client = found or str(program_of_wheel(name))
    # The wheel's psql was built elsewhere and would not find this system's descriptions of terminals.
    terminals = {"TERMINFO_DIRS": "/etc/terminfo:/lib/terminfo:/usr/share/terminfo"}
    os.execve(client, [client, *arguments], terminals | dict(os.environ) | values)


def main() -> int:
    """Run the command that the arguments name."""
    command, *arguments = sys.argv[1:] or ["--help"]
    load_env()
    if command in ("--help", "-h"):
        print(__doc__.strip())
    elif command in CLIENTS:
        run_client(command, arguments)
    elif arguments or command not in ("start", "stop", "status", "env", "roles"):
        raise GranaryError(f"bin/warehouse has no command {' '.join(sys.argv[1:])!r}; see bin/warehouse --help")
    elif command == "status":
        return show_status()
    elif command == "env":
        for name, value in environment().items():
            print(f"export {name}={shlex.quote(value)}")
    elif command == "roles":
        create_roles()
        print("granary_loader, granary_builder, granary_reader and granary_api have their rights")
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
