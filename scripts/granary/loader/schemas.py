"""Schemas of the warehouse that deliver to a source (`schemas` in its meta): their tables become landing files.

So each number is still traced to a file and a line, and whatever reads landing tables needs to know nothing of schemas.
A table is copied as a whole, and only if its content is another than that of its last copy.
"""

from __future__ import annotations

import contextlib
import datetime
import gzip
import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg2.errors
from psycopg2 import sql

from granary.brands import Pattern
from granary.declared import Entity
from granary.loader import landing, names, raw_tables
from granary.loader.raw_tables import Place, Session
from granary.project import GranaryError, schema_prefix

# A copy's time comes first, so that copies sort by it, and then the hash of its content.
NAME, COPY = "{:%Y%m%dT%H%M%S%f}_{}.csv.gz", re.compile(r"\d{8}T\d{12}_([0-9a-f]{16})\.csv\.gz")
NOT_A_TABLE = (
    "it isn't a table, and a view would run its owner's code with the rights of bin/ingest: copy it to a table"
)
OWN_SCHEMAS = ("staging", "intermediate", "marts")
TABLES = """
    select nspname from pg_class inner join pg_namespace on pg_namespace.oid = relnamespace
    where relname = %s and relkind in ('r', 'p', 'v', 'm', 'f') and nspname !~ '^pg_' and nspname <> all(%s)
    order by 1
"""
# What is of this database, not of the data, besides the time zone and the style of dates, which connect() sets; and
# nothing that a brand has made may run with the rights of the loader.
SETTINGS = """
    set transaction read only;
    set local lock_timeout = '10s';
    set local row_security = off;
    set local search_path = pg_catalog;
    set local intervalstyle = 'iso_8601';
    set local extra_float_digits = 1;
    set local bytea_output = 'hex';
    set local lc_monetary = 'C'
"""


def places(session: Session, entities: Iterable[Entity]) -> Iterator[tuple[Entity, Place]]:
    """Yield the schemas from which brands deliver to landing tables, each with its table."""
    for entity in entities:
        if not (pattern := entity.brands and entity.brands.schemas):
            continue
        with session.transaction("looking for schemas", keep=False) as cursor:
            own = ["raw", "information_schema", *(f"{schema_prefix()}{name}" for name in OWN_SCHEMAS)]
            cursor.execute(TABLES, [entity.name, own])
            schemas = [name for (name,) in cursor.fetchall()]
        for schema in schemas:
            if brand := pattern.brand_in(schema):
                name = f"{schema}.{entity.name}"
                yield entity, Place(entity.feed, entity.name, brand, "schema", name, odd(pattern, schema))


def odd(pattern: Pattern, schema: str) -> str | None:
    """Return why a schema can't be a brand's, or None."""
    problem = pattern.problem(schema)
    return f"the schema {schema} can't be a brand's: {problem}" if problem else None


def copy(session: Session, root: Path, entity: Entity, place: Place, *, dry_run: bool = False) -> str | None:
    """Copy a brand's table below the data root, and return the name of the file; None if its content was copied before.

    Raises GranaryError if the table can't be read or lacks a column.
    """
    folder = root / "incremental" / entity.brands.folders.name(place.brand) / entity.name
    if landing.leads_out(folder, Path(os.path.realpath(root))):
        raise GranaryError(f"{place.name} can't be copied: incremental/{folder.parent.name} is {landing.OUTWARD_LINK}")
    partial = folder / ".copy.partial"
    with session.transaction(place.name, keep=False) as cursor:  # until it ends, no other load copies
        query = query_of(cursor, place, entity)
        last = max((path.name for path in folder.glob("*.csv.gz") if COPY.fullmatch(path.name)), default="")
        now = datetime.datetime.now(datetime.timezone.utc)
        try:
            if not dry_run:
                folder.mkdir(parents=True, exist_ok=True)
                partial.unlink(missing_ok=True)  # of a load that was killed
            with Path(os.devnull).open("wb") if dry_run else partial.open("xb") as file:  # never what a link leads to
                writer = Writer(file, str(now))
                cursor.copy_expert(query, writer)
                digest = writer.close()
            name = NAME.format(now, digest)
            if last and COPY.fullmatch(last)[1] == digest:
                return None
            if not dry_run:
                partial.replace(folder / name)
            return (folder / name).relative_to(root).as_posix()
        except OSError as error:
            raise GranaryError(f"{place.name} can't be copied to {folder}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):  # there may be no folder
                partial.unlink()


def query_of(cursor: Any, place: Place, entity: Entity) -> sql.Composed:
    """Return the statement that copies a brand's table: its columns as text, its rows in the order of their text.

    Raises GranaryError if it can't be read, isn't a table, or lacks a column.
    """
    schema, table = place.name.removesuffix(f".{entity.name}"), entity.name
    relation = sql.Identifier(schema, table)
    cursor.execute(SETTINGS)
    try:
        cursor.execute(sql.SQL("lock table {} in access share mode").format(relation))
    except psycopg2.errors.InsufficientPrivilege:
        cursor.connection.rollback()
        cursor.execute("select current_user")
        raise GranaryError(
            f"{place.name}: {cursor.fetchone()[0]} may not read it: grant usage on the schema and select on the table"
        ) from None
    except psycopg2.errors.LockNotAvailable:
        raise GranaryError(f"{place.name}: it was locked for 10 seconds: run bin/ingest again") from None
    except psycopg2.errors.WrongObjectType:
        raise GranaryError(f"{place.name}: {NOT_A_TABLE}") from None
    cursor.execute(
        "select current_user, relkind, row_security_active(pg_class.oid), attname from pg_class"
        " left join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped"
        " where pg_class.oid = %s::regclass order by attnum",
        [relation.as_string(cursor)],
    )
    found = cursor.fetchall()
    user, kind, hides_rows, _ = found[0]
    if kind not in "rp":
        raise GranaryError(f"{place.name}: {NOT_A_TABLE}")
    if hides_rows:
        raise GranaryError(
            f"{place.name}: it has row-level security, which may hide rows from {user}: turn it off (alter table ..."
            " disable row level security), or let the role bypass it (alter role ... bypassrls)"
        )
    columns = [column for *_, column in found if column is not None]
    names.columns_of(columns, entity, place.name, kind="table")
    listed = raw_tables.identifiers(columns)
    # Not a cast to text, which could be one that a brand has made.
    return sql.SQL(
        "copy (select {0} from {1} order by pg_catalog.format('%s', row({0})) collate \"C\") to stdout"
        " (format csv, header, encoding 'UTF8')"
    ).format(listed, relation)


class Writer:
    """A gzip file, and the hash of what is written into it.

    Its header has the time: bytes that were loaded before would be known, but a table may return to an earlier state.
    """

    def __init__(self, file: Any, time: str) -> None:
        self.packed = gzip.GzipFile(time, "wb", 1, file)
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Write and hash bytes."""
        self.hash.update(data)
        return self.packed.write(data)

    def close(self) -> str:
        """Complete the file; return the hash."""
        self.packed.close()
        return self.hash.hexdigest()[:16]
