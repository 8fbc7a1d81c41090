"""The warehouse read as Arrow, which is how it reaches Parquet and other engines."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from granary.server.connection import connect, environment

NAMES = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname", "PGPASSWORD": "password"}


@contextlib.contextmanager
def snapshot() -> Iterator[Any]:
    """Yield a cursor of ADBC that sees one state of the warehouse.

    Raises GranaryError if the server can't be used.
    """
    import adbc_driver_postgresql.dbapi

    connect().close()  # ADBC's own errors are long
    values = {name: value.replace("\\", "\\\\").replace("'", "\\'") for name, value in environment().items()}
    place = " ".join(f"{NAMES[name]}='{value}'" for name, value in values.items())
    with adbc_driver_postgresql.dbapi.connect(uri=place) as connection, connection.cursor() as cursor:
        cursor.execute("set transaction isolation level repeatable read, read only")
        cursor.execute("set time zone 'UTC'")
        yield cursor
