"""A page as bytes: JSON, CSV or Parquet. PostgreSQL writes the numbers, so that none of them passes through a float."""

from __future__ import annotations

import io
import json
import re
from typing import Any

import pyarrow
import pyarrow.parquet
import sqlalchemy
from sqlalchemy import ColumnElement, Subquery

from granary.reports import export as report

from .endpoints import Column

FORMATS = {
    "json": "application/json",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "excel": "text/csv",  # CSV without formulas
}
WITH_OFFSET = "timestamp with time zone"


def expressions(form: str, page: Subquery, columns: dict[str, Column]) -> list[ColumnElement]:
    """Return what to select of a page: for JSON the row as a whole, for CSV text, for Parquet values."""
    if form == "json":
        row = sqlalchemy.func.row_to_json(sqlalchemy.literal_column(f"{page.name}.*"))
        return [sqlalchemy.cast(row, sqlalchemy.Text())]
    if form == "excel":
        texts = {name: sqlalchemy.cast(page.c[name], sqlalchemy.Text()) for name in columns}
        return [
            sqlalchemy.func.regexp_replace(text, report.FORMULA, r"'\&") if columns[name].kind == "text" else text
            for name, text in texts.items()
        ]
    return [
        sqlalchemy.cast(page.c[name], sqlalchemy.Text())
        if form == "csv" or pyarrow.types.is_string(arrow_type(column))
        else page.c[name]
        for name, column in columns.items()
    ]


def write(
    form: str, rows: list[tuple], columns: dict[str, Column], meta: dict[str, Any], following: str | None
) -> bytes:
    """Return the body of a response."""
    if form == "json":
        return write_json([row[0] for row in rows], meta, following)
    return write_parquet(rows, columns) if form == "parquet" else write_csv(rows, list(columns))


def write_json(rows: list[str], meta: dict[str, Any], following: str | None) -> bytes:
    """Return a JSON object, with one row per line."""
    data = ",\n".join(rows)
    return f'{{"meta": {json.dumps(meta)},\n"next": {json.dumps(following)},\n"data": [\n{data}\n]}}\n'.encode()


def write_csv(rows: list[tuple], names: list[str]) -> bytes:
    """Return CSV as bin/report writes it: with a header; null is empty, and empty text is ""."""
    lines = [",".join(map(quoted, row)) for row in [names, *rows]]
    return ("\n".join(lines) + "\n").encode()


def quoted(text: str | None) -> str:
    """Return a field of CSV."""
    if text is None:
        return ""
    return '"' + text.replace('"', '""') + '"' if text == "" or re.search('[",\r\n]', text) else text


def write_parquet(rows: list[tuple], columns: dict[str, Column]) -> bytes:
    """Return a Parquet file, with the types that bin/report gives the mart; times are in UTC."""
    schema = pyarrow.schema([(name, arrow_type(column)) for name, column in columns.items()])
    values = zip(*rows, strict=True) if rows else ([] for _ in columns)
    arrays = [pyarrow.array(list(given), kind) for given, kind in zip(values, schema.types, strict=True)]
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(arrays, schema=schema), file)
    return file.getvalue()


def arrow_type(column: Column) -> Any:
    """Return the type of a column in Parquet."""
    kind = WITH_OFFSET if column.type.startswith("timestamp") else column.type
    return report.arrow_type(report.Column(column.name, kind, is_collated=False))
