"""Drop the warehouse's schemas once no load or build is running. scripts/reset.sh asks before, and loads again."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import Any

import psycopg2.extensions
from psycopg2 import sql

from granary import copies
from granary.loader.raw_tables import SESSION_NAME
from granary.project import load_env, run_main, schema_prefix
from granary.server.connection import connect
from granary.server.lock import take_lock

SCHEMAS = ("raw", "staging", "intermediate", "marts")


def main() -> int:
    """Wait, drop the schemas, and say so."""
    load_env()
    with contextlib.closing(connect()) as connection:
        done, found = False, []
        while not done:
            wait_for_loads(connection)
            with connection, connection.cursor() as cursor:
                take_lock(connection, "reset")
                if done := not running_loads(cursor):  # none has begun meanwhile
                    found = copies.names(cursor)
                    copies.drop(cursor, found)  # they are views of raw
                    drop(cursor)
    print(f"dropped   {', '.join([*SCHEMAS, *(f'the copy {name}' for name in found)])}")
    return 0


def wait_for_loads(connection: psycopg2.extensions.connection) -> None:
    """Wait until no load is running. A load gives up the lock between its files, so the lock alone doesn't tell."""
    waited_for = None
    while True:
        with connection, connection.cursor() as cursor:
            loading = running_loads(cursor)
        if not loading:
            return
        if loading != waited_for:
            print(f"waiting for a load that is running (pid {', '.join(loading)}) ...", file=sys.stderr, flush=True)
        waited_for = loading
        time.sleep(0.5)


def running_loads(cursor: Any) -> list[str]:
    """Return the server processes of loads that go on."""
    cursor.execute(
        "select cast(pid as text) from pg_stat_activity"
        " where datname = current_database() and application_name = %s order by pid",
        [SESSION_NAME],
    )
    return [pid for (pid,) in cursor.fetchall()]


def drop(cursor: Any) -> None:
    """Drop the schemas, and those of the second copy that GRANARY_SCHEMA_PREFIX names."""
    cursor.execute("set local client_min_messages = warning")
    for name in dict.fromkeys([*SCHEMAS, *(schema_prefix() + name for name in SCHEMAS[1:])]):
        cursor.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(name)))


if __name__ == "__main__":
    run_main(main)
