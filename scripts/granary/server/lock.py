"""The lock that makes loads and builds take turns."""

from __future__ import annotations

import contextlib
import select
import sys
from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.extensions

from granary.project import GranaryError

LOCK_KEY = int.from_bytes(b"granary", "big")  # any constant would do; this one can be recognised in pg_locks


def take_lock(
    connection: psycopg2.extensions.connection, what: str, *, transaction: bool = False
) -> contextlib.AbstractContextManager[Any]:
    """Take the lock of loads and builds; while another process holds it, print a message and wait.

    `what` names the work ("dbt build", "load of sales/orders/batch_001") for the message of those who wait. The lock
    is held until the connection closes or, if the result is used as a context manager, until the `with` block ends;
    with `transaction=True`, until the transaction ends.
    """
    kind = "pg_{}advisory_xact_lock" if transaction else "pg_{}advisory_lock"
    with connection.cursor() as cursor:
        cursor.execute(f"select {kind.format('try_')}(%s)", [LOCK_KEY])
        if not cursor.fetchone()[0]:
            message = f"waiting for a load or build that is running ({lock_holder(cursor)}) ..."
            print(message, file=sys.stderr, flush=True)
            with interruptible():
                cursor.execute(f"select {kind.format('')}(%s)", [LOCK_KEY])
        cursor.execute("select set_config('application_name', %s, %s)", [f"granary: {what}"[:63], transaction])
    held = contextlib.ExitStack()
    if not transaction:
        held.callback(release_lock, connection)
    return held


def lock_holder(cursor: psycopg2.extensions.cursor) -> str:
    """Return which server process holds the lock, and for what."""
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
    return f"pid {found[0]}, {found[1] or 'no name'}" if found else "about to end"


def release_lock(connection: psycopg2.extensions.connection) -> None:
    """Release a session's lock, whatever the state of its transaction. Closing a connection releases it, too."""
    if not connection.closed:
        connection.rollback()
        with connection.cursor() as cursor:
            cursor.execute("select pg_advisory_unlock(%s)", [LOCK_KEY])
        connection.commit()


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
