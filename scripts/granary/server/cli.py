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
import shlex
import shutil
import sys
from typing import NoReturn

from granary.project import GranaryError, load_env, run_main
from granary.server.connection import connect, environment, is_embedded
from granary.server.embedded import answering_socket, program_of_wheel, real_home, start, stop
from granary.server.roles import create_roles

CLIENTS = ("psql", "pg_dump", "pg_restore")


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
