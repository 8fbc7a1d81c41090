"""The roles of loaders, builders, readers and the API, with their rights: see roles.sql."""

from __future__ import annotations

import contextlib
import os

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from granary.project import ROOT, GranaryError
from granary.server.connection import connect
from granary.server.lock import take_lock

API_ROLE = "granary_api"
PASSWORDS = {API_ROLE: "GRANARY_API_PASSWORD", "granary_reader": "GRANARY_READER_PASSWORD"}  # roles that log in


def create_roles() -> None:
    """Create the roles with their rights, or bring them up to date, once no load or build is running."""
    package = ROOT / "scripts" / "granary"
    try:
        with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
            take_lock(connection, "roles", transaction=True)
            for name in ("loader/raw.sql", "server/roles.sql"):
                cursor.execute((package / name).read_text("utf-8"))
            for role, variable in PASSWORDS.items():
                if password := os.environ.get(variable):
                    # As the server keeps it, so that no log of statements has the password.
                    kept = psycopg2.extensions.encrypt_password(password, role, connection, "scram-sha-256")
                    cursor.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(kept)))
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction) as error:
        raise GranaryError(
            f"the roles can't be created: {str(error).strip()}\n"
            "Run it once with PGUSER set to a user who may create roles (CREATEROLE) and owns the schemas."
        ) from None


def ensure_roles() -> None:
    """Create the roles where this database has none yet."""
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        # In the catalog, which everybody may read: to_regprocedure() fails for those who may not look into the schema.
        cursor.execute(
            "select not exists (select from pg_proc where proname = 'admit' and pronamespace = to_regnamespace('api'))"
        )
        (is_missing,) = cursor.fetchone()
    if is_missing:
        create_roles()
