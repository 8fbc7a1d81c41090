"""Two copies of the models that stand side by side in one database, and their comparison: see GRANARY_SCHEMA_PREFIX."""

from pathlib import Path

from psycopg2 import sql

from conftest import Database

FULL = "full_"  # prefix of the schemas of the copy that is built from nothing


def apart(target: str | Path, prefix: str = FULL) -> dict[str, str]:
    """Return the environment of a copy, whose artifacts are its own: dbt parses the project again for other schemas."""
    return {"GRANARY_SCHEMA_PREFIX": prefix, "DBT_TARGET_PATH": str(Path(target, prefix))}


def differences(database: Database, prefix: str = FULL) -> list[tuple[str, tuple]]:
    """Return the rows of intermediate and marts that the two copies don't share, each with its table.

    A row counts as often as it is there. Watermarks, rules and the last build are about builds, not about data.
    """
    tables = database.query(
        "select table_schema, table_name from information_schema.tables"
        " where table_schema in ('intermediate', 'marts')"
        " and table_name not in ('_watermarks', '_rules', '_last_build', 'table_log') order by 1, 2"
    )
    assert tables, "the models are not where they should be"
    different = []
    for schema, table in tables:
        one, other = sql.Identifier(schema, table), sql.Identifier(prefix + schema, table)
        for left, right in ((one, other), (other, one)):
            rows = database.query(sql.SQL("select * from {} except all select * from {}").format(left, right))
            different += [(f"{schema}.{table}", row) for row in rows]
    return different
