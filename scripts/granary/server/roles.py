"""The roles of loaders, builders, readers and the parts below serving/, with their rights: see roles.sql."""

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

LOGINS = r"select rolname from pg_roles where rolname like 'granary\_%' and rolcanlogin"


def create_roles() -> None:
    """Create the roles with their rights, or bring them up to date, once no load or build is running.

    A role that logs in takes its password from the variable with its name: granary_reader from GRANARY_READER_PASSWORD.
    """
    package = ROOT / "scripts" / "granary"
    parts = sorted(ROOT.glob("serving/*/roles.sql"))
    files = [package / "loader" / "raw.sql", package / "server" / "roles.sql", *parts]
    try:
        with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
            take_lock(connection, "roles")
            for file in files:
                cursor.execute(file.read_text("utf-8"))
            cursor.execute(LOGINS)
            for (role,) in cursor.fetchall():
                if password := os.environ.get(f"{role.upper()}_PASSWORD"):
                    # As the server keeps it, so that no log of statements has the password.
                    kept = psycopg2.extensions.encrypt_password(password, role, connection, "scram-sha-256")
                    cursor.execute(sql.SQL("alter role {} password {}").format(sql.Identifier(role), sql.Literal(kept)))
    except (psycopg2.errors.InsufficientPrivilege, psycopg2.errors.ReadOnlySqlTransaction) as error:
        raise GranaryError(
            f"the roles can't be created: {str(error).strip()}\n"
            "Run it once with PGUSER set to a user who may create roles (CREATEROLE) and owns the schemas."
        ) from None
