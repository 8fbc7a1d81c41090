"""The marts as the database has them: read only, and all of a page at one moment."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from granary.project import GranaryError, marts_schema
from granary.server.connection import connect

TIMEOUT_S = 30
SESSION = f"-c statement_timeout={TIMEOUT_S}s -c lock_timeout=5s -c idle_in_transaction_session_timeout=60s"


@dataclass(frozen=True)
class Marts:
    """The marts at one moment."""

    connection: psycopg2.extensions.connection

    def select(self, query: sql.Composable, *values: Any) -> pd.DataFrame:
        """Return the rows of a query, each value as the database gives it: numbers keep all their digits.

        Raises GranaryError if it fails, which leaves the connection as it was.
        """
        with self.connection.cursor() as cursor:
            cursor.execute("savepoint before")
            try:
                cursor.execute(query, values)
                return pd.DataFrame(cursor.fetchall(), columns=[each.name for each in cursor.description], dtype=object)
            except psycopg2.Error as error:
                if not self.connection.closed:
                    cursor.execute("rollback to savepoint before")
                raise GranaryError(problem(error)) from None

    def newest_delivery(self, feed: str) -> datetime.date | None:
        """Return the latest date that the data of a feed can have; None if that isn't known."""
        query = "select max(delivered_on) from {} where feed = %s and status = 'loaded'"
        with contextlib.suppress(GranaryError):
            return self.select(sql.SQL(query).format(table("load_audit")), feed).iat[0, 0]
        return None


def problem(error: psycopg2.Error) -> str:
    """Return in words why a query failed, and what to do."""
    message = str(error).partition("\n")[0].strip()
    if isinstance(error, psycopg2.errors.UndefinedTable):
        return f"not built yet ({message}). Run:\n\nbin/dbt build"
    if isinstance(error, psycopg2.errors.UndefinedColumn):
        return f"{message}. Correct meta.dashboard, or, if it is right, run:\n\nbin/dbt build --full-refresh"
    if isinstance(error, psycopg2.errors.QueryCanceled):
        return f"the query took longer than {TIMEOUT_S} s: choose fewer days"
    if isinstance(error, psycopg2.errors.LockNotAvailable):
        return "a build is replacing this table: reload the page in a few seconds"
    return f"can't read the marts: {str(error).strip()}"


@contextlib.contextmanager
def open_marts() -> Iterator[Marts]:
    """Give the marts, to read only. Raises GranaryError if they can't be reached or none is built."""
    with contextlib.closing(connect(options=SESSION)) as connection:
        connection.set_session(readonly=True, isolation_level="REPEATABLE READ")
        marts = Marts(connection)
        if marts.select(sql.SQL("select to_regnamespace(%s)"), marts_schema()).iat[0, 0] is None:
            raise GranaryError(f"there is no schema {marts_schema()} yet. Run:\n\nbin/ingest\nbin/dbt build")
        yield marts


def table(name: str) -> sql.Identifier:
    """Return a mart for a query."""
    return sql.Identifier(marts_schema(), name)
