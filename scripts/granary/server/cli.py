"""Manage the warehouse, the PostgreSQL server that all other commands use.

usage: bin/warehouse start | stop | status | env | roles | upgrade [DIR] | sql QUERY
       bin/warehouse psql [...] | pg_dump [...] | pg_restore [...]

  start    start the embedded server (all other commands start it when they need it)
  stop     stop the embedded server; the data stays
  status   show which server is used and whether it runs; the exit code is 3 if it is stopped
  env      print `export` lines for a shell:  eval "$(bin/warehouse env)"
  roles    create or update the roles of loaders, builders, readers and the API, with their rights
  upgrade  copy the embedded server's data to a newer major version of PostgreSQL, once such a one is installed;
           upgrade DIR takes the old version's programs from this directory, if they are in no usual place
  sql      run a query and show its rows, on the engine that GRANARY_ENGINE names:  bin/warehouse sql 'select 1'
  psql     run psql, with any arguments:  bin/warehouse psql -c 'select 1'
  pg_dump, pg_restore
           back up and restore the warehouse: see docs/deployment.md

Without PGHOST, the warehouse is an embedded PostgreSQL: private to the project, reached through a unix socket, with its
data in GRANARY_PGDATA (default .warehouse). If PGHOST is set (in the environment or .env), that server is used instead.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import NoReturn

from granary import engines
from granary.process import end_in_order
from granary.project import GranaryError, check_packages, load_env, run_main
from granary.server.connection import connect, environment, is_embedded
from granary.server.embedded import answering_socket, refuse_held_elsewhere, server_processes, silent, start, stop
from granary.server.home import real_home
from granary.server.programs import newest
from granary.server.roles import create_roles
from granary.server.upgrade import upgrade
from granary.text import printable

CLIENTS = ("psql", "pg_dump", "pg_restore")


def show_status() -> int:
    """Print which server is used; return 0 if it answers, 3 if it is the embedded one and is stopped."""
    embedded, real = is_embedded(), real_home()
    if embedded and not answering_socket(real):
        if server_processes(real):
            raise GranaryError(silent(real))
        refuse_held_elsewhere(real)
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
    """Replace this process by a PostgreSQL client: the embedded server's, or the system's psql for another server."""
    values = environment()
    if is_embedded():
        connect().close()  # raises an error in plain words if there is no connection left
    found = shutil.which(name) if name == "psql" and not is_embedded() else None
    client = found or str(newest() / name)
    # The wheel's psql was built elsewhere, and doesn't find this system's terminal descriptions by itself.
    terminals = {"TERMINFO_DIRS": "/etc/terminfo:/lib/terminfo:/usr/share/terminfo"}
    os.execve(client, [client, *arguments], terminals | dict(os.environ) | values)


def query_duckdb(query: str) -> None:
    """Run a query on DuckDB's file, which it can't change, and print its rows."""
    check_packages("engines", None, "duckdb")
    import duckdb

    path = Path(engines.duckdb_file())
    if not path.exists():
        raise GranaryError(f"{path} doesn't exist: build it with bin/lake && bin/dbt --target duckdb build")
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            connection.execute("set TimeZone = 'UTC'")
            if rows := connection.sql(query):
                print("\n".join(map(printable, str(rows).splitlines())))
    except duckdb.Error as error:
        raise GranaryError(str(error)) from None


def main() -> int:
    """Run the command that the arguments name."""
    command, *arguments = sys.argv[1:] or ["--help"]
    load_env()
    if command in ("--help", "-h"):
        print(__doc__.strip())
    elif command == "sql" and len(arguments) == 1:
        if engines.chosen() == "postgres":
            run_client("psql", ["--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--pset", "pager=off", "-c", *arguments])
        if engines.chosen() == "spark":
            raise GranaryError("this command can't query Spark's tables: a job can (bin/spark-submit)")
        query_duckdb(*arguments)
    elif command in CLIENTS:
        run_client(command, arguments)
    elif command == "upgrade" and len(arguments) < 2:
        if not is_embedded():
            raise GranaryError("PGHOST is set: upgrade that server by its own means, or unset PGHOST")
        end_in_order()
        upgrade(*(Path(given).absolute() for given in arguments))
    elif arguments or command not in ("start", "stop", "status", "env", "roles"):
        raise GranaryError(f"unknown command {' '.join(sys.argv[1:])!r}: see bin/warehouse --help")
    elif command == "status":
        return show_status()
    elif command == "env":
        for name, value in environment().items():
            print(f"export {name}={shlex.quote(value)}")
    elif command == "roles":
        create_roles()
        print("the roles granary_loader, granary_builder, granary_reader and granary_api are up to date")
    elif not is_embedded():
        connect().close()  # raises an error if the server can't be used
        print(f"PGHOST is set: the server at {os.environ['PGHOST']} is in use, and Granary doesn't start or stop it")
    elif command == "start":
        start()
        return show_status()
    else:
        print("stopped" if stop() else "the server wasn't running")
    return 0


if __name__ == "__main__":
    run_main(main)
