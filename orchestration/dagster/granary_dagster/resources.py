"""The settings of a run, and access to the warehouse, the data folder and the commands."""

import contextlib
import functools
import os
import re
from collections.abc import Iterator
from typing import Any

import dagster as dg
from psycopg2 import sql
from pydantic import Field

from granary import declared, process
from granary.loader import landing, onboarding, raw_tables
from granary.project import ROOT, GranaryError, data_folder, load_env
from granary.server.connection import connect, environment

UNSET = "if empty: from the environment or .env"


class Granary(dg.ConfigurableResource):
    """The connection and the data folder. The password comes from PGPASSWORD, never from a run's config."""

    host: str = Field("", description=f"PGHOST ({UNSET}, else the embedded server)")
    port: str = Field("", description=f"PGPORT ({UNSET})")
    user: str = Field("", description=f"PGUSER ({UNSET})")
    database: str = Field("", description=f"PGDATABASE ({UNSET})")
    schema_prefix: str = Field("", description=f"GRANARY_SCHEMA_PREFIX, for a second copy beside the first ({UNSET})")
    data_dir: str = Field("", description=f"GRANARY_DATA, the folder of the landing files ({UNSET}, else data)")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Put the settings where the commands, dbt and psycopg2 read them. Each process has one run."""
        given = {
            "PGHOST": self.host,
            "PGPORT": self.port,
            "PGUSER": self.user,
            "PGDATABASE": self.database,
            "GRANARY_SCHEMA_PREFIX": self.schema_prefix,
            "GRANARY_DATA": self.data_dir,
        }
        os.environ.update({name: value for name, value in given.items() if value})
        os.environ.update(environment())

    def run(self, context: dg.AssetExecutionContext, *command: str) -> None:
        """Run a command of the project; raise dg.Failure if it fails."""
        context.log.info(" ".join(command))
        try:
            process.run(*command)
        except GranaryError as error:
            raise dg.Failure(str(error)) from None


# -- The data folder ---------------------------------------------------------------------------------------------------


@functools.cache  # the assets are made from them once, too
def entities() -> dict[tuple[str, str], declared.Entity]:
    """Return the declared entities of the feeds whose declarations can be used; bin/ingest names the others."""
    return declared.declarations()[0]


def key_of(entity: declared.Entity) -> dg.AssetKey:
    """Return the asset key that dagster-dbt gives to the dbt source of an entity."""
    return dg.AssetKey([entity.feed, entity.name])


def landing_files() -> list[landing.LandingFile]:
    """Return the landing files in the order of loading. Raises what landing.discover raises."""
    load_env()
    return landing.discover(data_folder(), entities())


def onboard(feed: str) -> list[str]:
    """Find the brands of a feed that stands for brands, as bin/ingest does; return what is wrong with them."""
    load_env()
    with contextlib.closing(raw_tables.Session()) as session:
        return onboarding.onboard(session, data_folder(), entities(), names=[feed])[1]


# -- The warehouse -----------------------------------------------------------------------------------------------------


def prepare_raw() -> None:
    """Create the ledger and the landing tables that don't exist yet: models read them even where there is no file."""
    with raw_tables.transaction("preparing the raw tables") as cursor:
        raw_tables.prepare(cursor, entities().values())


@contextlib.contextmanager
def reading() -> Iterator[Any]:
    """Yield a cursor of a read-only connection."""
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        connection.set_session(readonly=True)
        yield cursor


def described(cursor: Any, table: sql.Identifier, order: str = "") -> dict[str, dg.MetadataValue]:
    """Return a table's row count, and its first rows as a markdown table."""
    cursor.execute(sql.SQL("select count(*) from {}").format(table))
    (count,) = cursor.fetchone()
    cursor.execute(sql.SQL("select * from {} {} limit 5").format(table, sql.SQL(order)))
    return {
        "dagster/row_count": dg.MetadataValue.int(count),
        "preview": dg.MetadataValue.md(markdown([column.name for column in cursor.description], cursor.fetchall())),
    }


def markdown(columns: list[str], rows: list[tuple]) -> str:
    """Return rows as a markdown table, with each value shortened to one line."""

    def cell(value: Any) -> str:
        text = "" if value is None else " ".join(str(value).split())
        text = text if len(text) <= 60 else f"{text[:59]}…"
        return re.sub(r"[\\|<*_`\[]", lambda sign: f"\\{sign[0]}", text)

    lines = [columns, ["---"] * len(columns), *[[cell(value) for value in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def docs_link(unique_id: str) -> dg.MetadataValue:
    """Return the page of a dbt resource in dbt's docs, at GRANARY_DOCS_URL or in the file that `make docs` writes."""
    base = os.environ.get("GRANARY_DOCS_URL") or (ROOT / "dbt" / "target" / "static_index.html").as_uri()
    return dg.MetadataValue.url(f"{base}#!/{unique_id.partition('.')[0]}/{unique_id}")
