"""The database as the API sees it: as a role that may read marts and look up tokens, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import sqlalchemy
from sqlalchemy import Connection, Engine, Row, text

from granary.project import GranaryError
from granary.reports import QUERIES
from granary.server.connection import environment

from .problems import Problem, unavailable

Answer = TypeVar("Answer")

ROLE = "granary_api"
STATEMENT_TIMEOUT = "10s"
LOCK_TIMEOUT = "2s"  # a reader only waits for a build that replaces its table
UNDEFINED_TABLE, UNDEFINED_COLUMN = "42P01", "42703"  # PostgreSQL's codes
# A table has other types now; somebody has discarded what was prepared, or has prepared it already.
NOT_AS_PREPARED = ("0A000", "26000", "42P05")
MOST_PREPARED = 50  # statements of one connection: each takes some memory of the server's process

# The tag of an answer changes with the run that wrote its mart last, which may have been killed; the build that answers
# name is the latest that passed.
WRITTEN_BY = "select build_id from marts.table_log where table_name = {mart}"
PASSED = """
    select build_id, status, finished_at
    from marts.build_log
    where schema_prefix = '' and status = 'passed'
    order by finished_at desc, build_id
    limit 1
"""
BUILD = f"""
    select
        ({WRITTEN_BY}) as written_by,
        latest.status as latest_status,
        passed.build_id,
        passed.status,
        passed.finished_at
    from (
        select status from marts.build_log where schema_prefix = '' order by finished_at desc, build_id limit 1
    ) as latest
    left join ({PASSED}) as passed on true
"""
LOGS = ("build_log", "table_log")  # which these statements read
ADMIT = "select * from api.admit($1)"
ADMIT_AND_BUILD = f"{ADMIT} left join ({BUILD.format(mart='$2')}) as build on true"
LATEST_BUILD = text(BUILD.format(mart=":mart"))
FRESHNESS = text("""
    select feed, max(finished_at) as last_loaded_at
    from marts.load_audit
    where status = 'loaded'
    group by feed
    order by feed
""")


class Build(NamedTuple):
    """The latest build that passed, and the run that wrote a mart last. All of it is None before the first build."""

    written_by: str | None = None
    latest_status: str | None = None
    build_id: str | None = None
    status: str | None = None
    finished_at: Any = None


class Pools:
    """Connections as the API's role, opened when first used: some count requests, the others can't write.

    Each statement is a transaction of its own, so that it takes one round trip.
    """

    def __init__(self, size: int) -> None:
        """Prepare pools that hold up to `size` connections each."""
        self.counting, self.reading = new_engine(size), new_engine(size, "-c default_transaction_read_only=on")

    def dispose(self) -> None:
        """Close the connections."""
        self.counting.dispose()
        self.reading.dispose()


def new_engine(pool_size: int, options: str = "") -> Engine:
    """Return an engine that connects as the API's role."""
    values = environment()
    parameters = {
        "host": values["PGHOST"],
        "port": values["PGPORT"],
        "dbname": values["PGDATABASE"],
        "user": ROLE,
        "application_name": "granary api",
        "connect_timeout": 5,
        "options": f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT} -c lock_timeout={LOCK_TIMEOUT}"
        f" -c idle_in_transaction_session_timeout=10s {options}",
    }
    if password := os.environ.get("GRANARY_API_PASSWORD"):
        parameters["password"] = password
    return sqlalchemy.create_engine(
        "postgresql+psycopg2://",
        connect_args=parameters,
        isolation_level="AUTOCOMMIT",
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
    )


def check_connection(pools: Pools) -> None:
    """Raise GranaryError if the API's role can't connect."""
    try:
        pools.reading.connect().close()
    except sqlalchemy.exc.OperationalError as error:
        raise GranaryError(
            f"the API can't connect as {ROLE}: set GRANARY_API_PASSWORD, then run bin/warehouse roles.\n"
            f"({str(error.orig).strip()})"
        ) from None
    finally:
        pools.dispose()  # processes that are forked later must not share a connection


def run_prepared(connection: Connection, statement: str, values: Sequence[Any], *marts: str) -> list[Row]:
    """Return the rows of a statement with parameters ($1, $2, ...), which its connection plans once and then keeps.

    `marts` are those that the statement reads.
    """
    try:
        return execute(connection, statement, values, marts)
    except sqlalchemy.exc.DBAPIError as error:
        if error.connection_invalidated or error.orig.pgcode not in NOT_AS_PREPARED:
            raise
        connection.info["prepared"].clear()
        return execute(connection, statement, values, marts)


def execute(connection: Connection, statement: str, values: Sequence[Any], marts: Sequence[str]) -> list[Row]:
    """Prepare a statement unless its connection has it, and execute it, in one round trip.

    A mart that is being replaced is waited for first: a prepared statement takes its snapshot before it waits, and
    would then find the new table empty.
    """
    prepared: set[str] = connection.info.setdefault("prepared", set())
    name, begin = name_of(statement), ""
    if name not in prepared:
        begin = f"prepare {name} as {statement.replace('%', '%%')}; "
        if not prepared or len(prepared) >= MOST_PREPARED:
            begin = f"deallocate all; {begin}"
            prepared.clear()
        prepared.add(name)  # even if it fails, because the server may have it then; if it hasn't, it says so
    wait = f"lock table {', '.join(map(qualified, marts))} in access share mode; " if marts else ""
    places = f"({', '.join(['%s'] * len(values))})" if values else ""
    return connection.exec_driver_sql(f"{wait}{begin}execute {name}{places}", tuple(values)).all()


def qualified(mart: str) -> str:
    """Return the name of a mart for a statement whose parameters are marked by %s."""
    return 'marts."' + mart.replace('"', '""').replace("%", "%%") + '"'


@functools.lru_cache(maxsize=500)
def name_of(statement: str) -> str:
    """Return the name of a prepared statement: never that of another one, even if a proxy mixes up connections."""
    return f"granary_{hashlib.sha256(statement.encode()).hexdigest()[:32]}"


def again_if_lost(ask: Callable[[], Answer]) -> Answer:
    """Ask again if the connection was lost, such as by a restart of the server: the pool does not check it before."""
    try:
        return ask()
    except sqlalchemy.exc.DBAPIError as error:
        if not error.connection_invalidated:
            raise
        return ask()


def admit(pools: Pools, token: str, mart: str | None) -> tuple[Row | None, Build]:
    """Count a request of a token; return what api.admit says, or None if it isn't valid, and the mart's build."""
    given = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()

    def ask() -> tuple[Row | None, Build]:
        with pools.counting.connect() as connection:
            try:
                row = next(iter(run_prepared(connection, ADMIT_AND_BUILD, [given, mart], *LOGS)), None)
                return row, Build(*(getattr(row, name) for name in Build._fields)) if row else Build()
            except sqlalchemy.exc.DBAPIError as error:
                if error.connection_invalidated:
                    raise
                # There is no build yet, or it can't be read now. The request counts all the same.
                row = next(iter(run_prepared(connection, ADMIT, [given])), None)
                return row, latest_build(connection, mart)

    return again_if_lost(ask)


def latest_build(connection: Connection, mart: str | None = None) -> Build:
    """Return the build that the marts stand for, and the run that wrote one of them."""
    return Build(*next(iter(rows_if_built(connection, "build_log", LATEST_BUILD, mart=mart)), ()))


def build_of(pools: Pools, mart: str) -> Build:
    """Return the build that the marts stand for, and the run that wrote one of them."""

    def ask() -> Build:
        with pools.reading.connect() as connection:
            return latest_build(connection, mart)

    return again_if_lost(ask)


def served_build(pools: Pools) -> Build:
    """Return the build that the marts stand for, or none if the database can't say it."""
    with contextlib.suppress(sqlalchemy.exc.SQLAlchemyError, Problem), pools.reading.connect() as connection:
        return latest_build(connection)
    return Build()


def freshness(connection: Connection) -> list[dict[str, str]]:
    """Return when each feed was last loaded."""
    rows = rows_if_built(connection, "load_audit", FRESHNESS)
    return [{"feed": row.feed, "last_loaded_at": row.last_loaded_at.isoformat()} for row in rows]


def rows_if_built(connection: Connection, reads: str, statement: Any, **parameters: Any) -> list[Row]:
    """Return the rows of a query, or none while what it reads isn't built; raise a problem if it has other columns."""
    try:
        return list(connection.execute(statement, parameters))
    except sqlalchemy.exc.ProgrammingError as error:
        if error.orig.pgcode == UNDEFINED_COLUMN:
            words = f"marts.{reads} was built by another version of the project ({error.orig.diag.message_primary})"
            raise unavailable(f"{words}: run bin/dbt build --select +{reads} --full-refresh.", seconds=60) from None
        if error.orig.pgcode != UNDEFINED_TABLE:
            raise
        return []


def columns(pools: Pools) -> dict[str, dict[str, Row]]:
    """Return the columns of all tables in the schema marts, by table and name, each with type, description, place."""

    def ask() -> dict[str, dict[str, Row]]:
        found: dict[str, dict[str, Row]] = {}
        with pools.reading.connect() as connection:
            for row in connection.exec_driver_sql((QUERIES / "mart_columns.sql").read_text("utf-8"), ("marts",)):
                found.setdefault(row.mart, {})[row.name] = row
        return found

    return again_if_lost(ask)
