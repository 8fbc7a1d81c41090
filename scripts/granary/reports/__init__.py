"""What people read: the quality report, marts as files, expectations of raw tables, the summary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from psycopg2 import sql

from granary.project import marts_schema

QUERIES = Path(__file__).with_name("queries")


def query(cursor: Any, name: str, values: Any = (), **names: sql.Composable) -> list[dict[str, Any]]:
    """Return the rows of queries/<name>.sql, with values for its placeholders and names for what is in braces."""
    text = sql.SQL((QUERIES / f"{name}.sql").read_text("utf-8"))
    cursor.execute(text.format(marts=sql.Identifier(marts_schema()), **names), values or None)
    columns = [column.name for column in cursor.description]
    return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
