"""Connections to the warehouse: the embedded server, or the one that PGHOST names."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from granary.project import GranaryError, load_env
from granary.server.embedded import start, users_of
from granary.server.home import real_home, socket_directory

OLDEST_SERVER = 16  # the first one with pg_input_is_valid(), which the safe casts need


def environment() -> dict[str, str]:
    """Return PGHOST, PGPORT, PGUSER, PGDATABASE and, if set, PGPASSWORD; start the embedded server if it is in use."""
    load_env()
    if not os.environ.get("PGHOST"):
        return {"PGHOST": str(start()), "PGPORT": "5432", "PGUSER": "granary", "PGDATABASE": "granary"}
    if is_embedded():  # the environment is that of `bin/warehouse env`
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
    """Return whether the embedded server is in use."""
    host = os.environ.get("PGHOST")
    return not host or Path(host) == socket_directory(real_home())


def connect(**kwargs: Any) -> psycopg2.extensions.connection:
    """Return a connection to the warehouse, in UTC. `kwargs` go to psycopg2 and win over the environment.

    Raises GranaryError if the server can't be reached, refuses the login, is older than PostgreSQL 16, or doesn't store
    text in UTF-8.
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
    """Close the connection and raise GranaryError if the server is too old or its database isn't encoded in UTF-8."""
    version, encoding = (connection.get_parameter_status(name) for name in ("server_version", "server_encoding"))
    host, database = connection.info.host, connection.info.dbname
    if connection.server_version < OLDEST_SERVER * 10000:
        connection.close()
        raise GranaryError(
            f"the server at PGHOST={host} is PostgreSQL {version}; Granary needs {OLDEST_SERVER} or newer.\n"
            "Set PGHOST to a newer server, or unset it to use the embedded one (PostgreSQL 18)."
        )
    if encoding != "UTF8":
        connection.close()
        raise GranaryError(
            f"the database {database!r} at PGHOST={host} is encoded in {encoding}; Granary needs UTF8.\n"
            "Create one in UTF8 (createdb --encoding=UTF8 --template=template0 ...), and set PGDATABASE to it."
        )


def explain(message: str, parameters: dict[str, Any]) -> str:
    """Return what a failed connection means and how to fix it, followed by libpq's own message."""
    host, port, user, database = (parameters[name] for name in ("host", "port", "user", "dbname"))
    holders = users_of(real_home()) if is_embedded() else ""
    all_used = (
        f"all connections that {user!r} can have at {host}:{port} are used{f': {holders}' if holders else ''}.\n"
        "End the programs that hold them; `select * from pg_stat_activity`, as a superuser, shows them."
    )
    ways_out = {
        f'database "{database}" does not exist': (
            f"the database {database!r} doesn't exist at {host}:{port}. Set PGDATABASE to another one, or create it:\n"
            f"  createdb --encoding=UTF8 --template=template0 -h {shlex.quote(host)} -p {port} -U {shlex.quote(user)}"
            f" {shlex.quote(database)}"
        ),
        "password": f"{host}:{port} refuses the password of {user!r}: check PGUSER and PGPASSWORD.",
        f'role "{user}" does not exist': f"the user {user!r} doesn't exist at {host}:{port}: set PGUSER, or create it.",
        "translate host name": f"unknown host PGHOST={host}: check the spelling.",
        "the database system is": f"the server at {host}:{port} accepts no connections now: try again in a minute.",
        **dict.fromkeys(("too many clients", "too many connections", "remaining connection slots"), all_used),
    }
    no_answer = (
        f"no PostgreSQL server can be reached at PGHOST={host}, PGPORT={port}. Start it (`docker compose up -d"
        " warehouse` starts the one in docker-compose.yml),\ncorrect the two variables, or unset PGHOST to use the"
        " embedded server."
    )
    return next((text for sign, text in ways_out.items() if sign in message), no_answer) + f"\n({message})"
