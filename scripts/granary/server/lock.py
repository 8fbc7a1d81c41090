"""The lock that makes loads and builds take turns.

It is a lock on a table of its own, so that only roles with a right to that table can take it: loaders and builders. An
advisory lock could be taken by anyone who can log in.
"""

from __future__ import annotations

import contextlib
import select
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions

from granary.project import GranaryError
from granary.server.connection import connect

SCHEMA, NAME = "granary_lock", "turn"
TABLE = f"{SCHEMA}.{NAME}"  # empty, and never written
HEARTBEAT = 30  # seconds
IN_TURN = f"lock table {TABLE} in exclusive mode"


def take_lock(connection: psycopg2.extensions.connection, what: str) -> None:
    """Take the lock of loads and builds until the transaction ends; while another holds it, print a message and wait.

    `what` names the work ("dbt build", "load of sales/orders/batch_001") for the message of those who wait. Raises
    GranaryError if the user has no right to take it.
    """
    named, name = "select set_config('application_name', %s, true)", f"granary: {what}"[:63]
    try:
        with connection.cursor() as cursor:
            make_table(cursor)
            try:
                cursor.execute(f"savepoint before_lock; {IN_TURN} nowait; {named}", [name])  # in one round trip
            except psycopg2.errors.LockNotAvailable:
                cursor.execute("rollback to savepoint before_lock")
                message = f"waiting for a load or build that is running ({lock_holder(cursor)}) ..."
                print(message, file=sys.stderr, flush=True)
                with interruptible():
                    cursor.execute(IN_TURN)
                cursor.execute(named, [name])
    except psycopg2.errors.InsufficientPrivilege as error:
        raise GranaryError(
            f"the user may not take the lock of loads and builds: {str(error).strip()}\n"
            "Run bin/warehouse roles as the owner of the warehouse, and make this user a member of granary_loader or"
            " granary_builder."
        ) from None


def make_table(cursor: Any) -> None:
    """Create the lock's table unless it exists, in a transaction of its own: the caller's may last for an hour."""
    # Not to_regclass(): it would remember until the transaction ends that there is none.
    cursor.execute(
        "select from pg_class where relname = %s and relnamespace = (select oid from pg_namespace where nspname = %s)",
        [NAME, SCHEMA],
    )
    if not cursor.rowcount:
        with (
            contextlib.suppress(psycopg2.errors.UniqueViolation),  # another one has just created it
            contextlib.closing(connect(dbname=cursor.connection.info.dbname)) as maker,
            maker,
            maker.cursor() as own,
        ):
            own.execute(f"create schema if not exists {SCHEMA}; create table if not exists {TABLE} ()")


def lock_holder(cursor: psycopg2.extensions.cursor) -> str:
    """Return which server process holds the lock, and for what."""
    cursor.execute(
        """
        select pg_stat_activity.pid, pg_stat_activity.application_name
        from pg_locks
        inner join pg_stat_activity on pg_stat_activity.pid = pg_locks.pid
        where pg_locks.granted
            and pg_locks.mode = 'ExclusiveLock'
            and pg_locks.relation = to_regclass(%s)
            and pg_locks.database = (select oid from pg_database where datname = current_database())
        """,
        [TABLE],
    )
    found = cursor.fetchone()
    return f"pid {found[0]}, {found[1] or 'no name'}" if found else "about to end"


def keep_lock(connection: psycopg2.extensions.connection, lost: Callable[[], object]) -> None:
    """Keep the lock until the process ends, while the connection has nothing else to do.

    As soon as the server has ended its session all the same, another load or build may begin: then call `lost` from
    another thread, which uses the connection from now on.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "select set_config(name, '0', true) from pg_settings"
            " where name in ('idle_in_transaction_session_timeout', 'transaction_timeout')"
        )

    def watch() -> None:
        try:
            with connection.cursor() as cursor:
                while True:
                    select.select([connection], [], [], HEARTBEAT)  # the server says something, or hangs up
                    cursor.execute("select 1")
        except psycopg2.Error:
            lost()

    threading.Thread(target=watch, daemon=True).start()


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let Ctrl-C interrupt a query that waits; by default, psycopg2 notices it only at the end of the query.

    The interrupt closes the connection. psycopg2's own wait_select would ask the server to cancel the query instead,
    which has no effect if the server hasn't received the query yet. Raises GranaryError if the server ends the wait.
    """
    psycopg2.extensions.set_wait_callback(wait)
    try:
        yield
    except psycopg2.OperationalError as error:  # a restart, a timeout, or a query that was cancelled on the server
        raise GranaryError(f"the server ended the wait for the lock: try again.\n({str(error).strip()})") from None
    finally:
        psycopg2.extensions.set_wait_callback(None)


def wait(connection: psycopg2.extensions.connection) -> None:
    """Wait until the server has answered."""
    while (state := connection.poll()) != psycopg2.extensions.POLL_OK:
        reads = state == psycopg2.extensions.POLL_READ
        select.select([connection] if reads else [], [] if reads else [connection], [])
