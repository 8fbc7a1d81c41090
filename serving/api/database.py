"""The database as the API sees it: as a role that may read marts and ask whom it answers, and nothing else."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy
from psycopg2 import sql
from sqlalchemy import Connection, Engine, text

from granary.project import GranaryError
from granary.reports import export as report
from granary.server.connection import connect, environment
from granary.server.roles import API_ROLE

from .endpoints import Endpoint

STATEMENT_TIMEOUT = "10s"

ADMIT = text("select * from api.admit(:given)")
# The marts change with every build, whatever becomes of it; what is said to be served is the latest that passed.
BUILD = text("""
    with

    builds as (

        select build_id, status, finished_at
        from marts.build_log
        where schema_prefix = ''

    )

    select latest.build_id as state, latest.status as latest_status, passed.build_id, passed.status, passed.finished_at
    from (select * from builds order by finished_at desc, build_id limit 1) as latest
    left join (
        select * from builds where status = 'passed' order by finished_at desc, build_id limit 1
    ) as passed on true
""")
FRESHNESS = text("""
    select feed, max(finished_at) as last_loaded_at
    from marts.load_audit
    where status = 'loaded'
    group by feed
    order by feed
""")
DESCRIPTIONS = """
    select attname, col_description(attrelid, attnum)
    from pg_attribute
    where attrelid = %s::regclass and attnum > 0 and not attisdropped
"""


@dataclass(frozen=True)
class Column:
    """A column of an endpoint, with its type as PostgreSQL spells it and its description from dbt."""

    name: str
    type: str
    description: str


@dataclass(frozen=True)
class Admission:
    """A valid token, and what is left of its requests."""

    token_name: str
    token_feeds: list[str]
    request_limit: int
    remaining: int
    reset_seconds: int
    is_admitted: bool


@dataclass(frozen=True)
class Build:
    """The latest build that passed, and `state`, which changes with every build. All of it is None before the first."""

    state: str | None = None
    latest_status: str | None = None
    build_id: str | None = None
    status: str | None = None
    finished_at: Any = None


def create_engine(pool_size: int) -> Engine:
    """Return an engine that connects as the API's role when first used, and replaces connections that have died."""
    values = environment()
    parameters = {
        "host": values["PGHOST"],
        "port": values["PGPORT"],
        "dbname": values["PGDATABASE"],
        "user": API_ROLE,
        "application_name": "granary api",
        "connect_timeout": 5,
        "options": f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT}",
    }
    if password := os.environ.get("GRANARY_API_PASSWORD"):
        parameters["password"] = password
    return sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        connect_args=parameters,
        pool_pre_ping=True,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
    )


def check_connection(engine: Engine) -> None:
    """Raise GranaryError where the API's role can't connect."""
    try:
        engine.connect().close()
    except sqlalchemy.exc.OperationalError as error:
        raise GranaryError(
            f"the API can't connect as {API_ROLE}: set GRANARY_API_PASSWORD, then run bin/warehouse roles.\n"
            f"({str(error.orig).strip()})"
        ) from None
    finally:
        engine.dispose()  # processes that are forked later must not share a connection


def columns_of(endpoints: list[Endpoint]) -> dict[str, dict[str, Column]]:
    """Return the columns of each endpoint, by its name, as the marts have them."""
    found = {}
    with contextlib.closing(connect()) as connection:
        built = report.marts_in(connection)
        for endpoint in endpoints:
            report.check_mart(endpoint.mart, built)
            mart = sql.Identifier("marts", endpoint.mart).as_string(connection)
            with connection.cursor() as cursor:
                cursor.execute(DESCRIPTIONS, [mart])
                descriptions = {name: " ".join((words or "").split()) for name, words in cursor}
            types = {column.name: column.type for column in report.describe(connection, endpoint.mart).columns}
            found[endpoint.name] = {
                name: Column(name, types[name], descriptions[name]) for name in endpoint.columns if name in types
            }
            if missing := [name for name in endpoint.columns if name not in types]:
                raise GranaryError(f"{endpoint.mart} has no column {', '.join(missing)}: bin/dbt build --full-refresh")
    return found


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection in a read-only transaction."""
    with engine.connect().execution_options(postgresql_readonly=True) as connection, connection.begin():
        yield connection


def admit(engine: Engine, token: str) -> tuple[Admission | None, Build]:
    """Count a request of a token; return what it may do, or None where it isn't valid, and the build."""
    given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
    with engine.begin() as connection:
        row = connection.execute(ADMIT, {"given": given}).one_or_none()
        return (Admission(**row._mapping) if row else None), latest_build(connection)


def latest_build(connection: Connection) -> Build:
    """Return the build that the marts stand for."""
    row = connection.execute(BUILD).one_or_none()
    return Build(**row._mapping) if row else Build()


def served_build(engine: Engine) -> Build:
    """Return the build that the marts stand for, or none where the database can't be reached."""
    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError), reading(engine) as connection:
        return latest_build(connection)
    return Build()


def freshness(connection: Connection) -> list[dict[str, str]]:
    """Return when each feed was last loaded."""
    rows = connection.execute(FRESHNESS)
    return [{"feed": row.feed, "last_loaded_at": row.last_loaded_at.isoformat()} for row in rows]
