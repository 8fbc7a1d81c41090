"""What a run can be told: which warehouse, which data folder; and how commands are run."""

import contextlib
import functools
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import dagster as dg
from psycopg2 import sql
from pydantic import Field

from granary import declared
from granary.loader import landing
from granary.project import ROOT, load_env
from granary.server.connection import connect, environment

UNSET = "empty: as in the environment, or in .env"


class Granary(dg.ConfigurableResource):
    """The warehouse's connection and the data folder. The password comes from PGPASSWORD, never from a run's config."""

    host: str = Field("", description=f"PGHOST ({UNSET}, else the embedded server)")
    port: str = Field("", description=f"PGPORT ({UNSET})")
    user: str = Field("", description=f"PGUSER ({UNSET})")
    database: str = Field("", description=f"PGDATABASE ({UNSET})")
    schema_prefix: str = Field("", description=f"GRANARY_SCHEMA_PREFIX, for a second copy beside the first ({UNSET})")
    data_dir: str = Field("", description=f"GRANARY_DATA, the root of the landing files ({UNSET}, else data)")

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Put the run's settings where the commands, dbt and psycopg2 look for them. A process runs one run."""
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
        """Run a command of bin/ and show its lines as they come; raise dg.Failure with its last words if it fails."""
        context.log.info(" ".join(command))
        program = [str(ROOT / command[0]), *command[1:]]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            lines = []
            try:
                for line in process.stdout:
                    lines.append(line.rstrip())
                    print(lines[-1], flush=True)
            except BaseException:  # the run is to end
                process.terminate()
                raise
        if process.returncode:
            errors = [line for line in lines if line.startswith("error:")] or lines[-3:]
            raise dg.Failure(f"{' '.join(command[:2])}: exit code {process.returncode}\n" + "\n".join(errors))


# -- The data folder ---------------------------------------------------------------------------------------------------


@functools.cache  # as the assets, which are made of them once, too
def entities() -> dict[tuple[str, str], declared.Entity]:
    """Return the declared entities: see declared.entities."""
    return declared.entities()


def key_of(entity: declared.Entity) -> dg.AssetKey:
    """Return the key by which dagster-dbt knows the dbt source that an entity's table is."""
    return dg.AssetKey([entity.feed, entity.name])


def landing_files() -> list[landing.LandingFile]:
    """Return the landing files in the order of loading; see landing.discover for the errors."""
    load_env()
    return landing.discover(ROOT / (os.environ.get("GRANARY_DATA") or "data"), entities())


# -- The warehouse -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def reading() -> Iterator[Any]:
    """Give a cursor that only reads."""
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        connection.set_session(readonly=True)
        yield cursor


def described(cursor: Any, table: sql.Identifier, order: str = "") -> dict[str, dg.MetadataValue]:
    """Return a table's number of rows, and its first ones as a table in markdown."""
    cursor.execute(sql.SQL("select count(*) from {}").format(table))
    (count,) = cursor.fetchone()
    cursor.execute(sql.SQL("select * from {} {} limit 5").format(table, sql.SQL(order)))
    return {
        "dagster/row_count": dg.MetadataValue.int(count),
        "preview": dg.MetadataValue.md(markdown([column.name for column in cursor.description], cursor.fetchall())),
    }


def markdown(columns: list[str], rows: list[tuple]) -> str:
    """Return rows as a table in markdown, each value as one short line."""

    def cell(value: Any) -> str:
        text = "" if value is None else " ".join(str(value).split())
        text = text if len(text) <= 60 else f"{text[:59]}…"
        return re.sub(r"[\\|<*_`\[]", lambda sign: f"\\{sign[0]}", text)

    lines = [columns, ["---"] * len(columns), *[[cell(value) for value in row] for row in rows]]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def docs_link(unique_id: str) -> dg.MetadataValue:
    """Return the page of a dbt resource in dbt's docs: at GRANARY_DOCS_URL, else the file that `make docs` writes."""
    base = os.environ.get("GRANARY_DOCS_URL") or (ROOT / "dbt" / "target" / "static_index.html").as_uri()
    return dg.MetadataValue.url(f"{base}#!/{unique_id.partition('.')[0]}/{unique_id}")
