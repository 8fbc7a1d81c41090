"""Checks new files before they are loaded.

A rehearsal loads them as bin/ingest would, in a transaction that is rolled back. So the numbers follow the rules of the
loader and of staging, and a bad file leaves nothing behind.
"""

import os
import statistics
import zlib
from typing import Any, NamedTuple

import dagster as dg
import psycopg2
from psycopg2 import sql
from pydantic import Field

from granary import declared
from granary.loader import raw_tables
from granary.loader.landing import LandingFile
from granary.loader.load import load
from granary.project import GranaryError

CHECKS = {
    "row_count": "A batch has about as many rows as the batches before it.",
    "schema_drift": "A file has the declared columns and can be loaded. A new column is a warning.",
    "rejected_share": "The loader and staging reject no more of a batch's rows than its source allows.",
}


class Limits(dg.Config):
    """Limits for a batch. A batch beyond them that is correct can be loaded by hand: bin/ingest <its name>."""

    row_count_factor: float = Field(10, gt=1, description="more or fewer rows than the median, by this factor")


class Batch(NamedTuple):
    """What a load of a file would bring. `problem` is the reason why the loader refuses it."""

    file: LandingFile
    rows: int = 0
    rejected_lines: int = 0
    rejected_rows: int = 0
    usual_rows: float | None = None  # median of the earlier incremental batches; None if there are none
    new_columns: tuple[str, ...] = ()
    problem: str | None = None


def rehearse(files: list[LandingFile]) -> list[Batch]:
    """Return what the files that are not loaded yet would bring, in their order."""
    batches = []
    with raw_tables.transaction("rehearsal of a load", keep=False) as cursor:
        cursor.execute("select last_value + is_called::int from raw._row_ids")
        (next_row_id,) = cursor.fetchone()
        for file in files:
            cursor.execute("savepoint before")
            try:
                batch = rehearse_one(cursor, file)
            except (GranaryError, psycopg2.Error, OSError, EOFError, zlib.error) as error:
                cursor.execute("rollback to savepoint before")
                batch = Batch(file, problem=str(error).strip())
            if batch:
                batches.append(batch)
        raw_tables.move_row_ids(cursor, next_row_id)  # a rollback doesn't reset a sequence
    return batches


def rehearse_one(cursor: Any, file: LandingFile) -> Batch | None:
    """Load a file and return what it brought; None if it is loaded already."""
    result = load(cursor, file)
    if result.outcome == "known":
        return None
    return Batch(
        file,
        result.batch.rows_read,
        result.batch.rows_rejected,
        rows_that_staging_rejects(cursor, result.batch.batch_id),
        usual_rows(cursor, file, result.batch.batch_id),
        tuple(sorted(result.new_columns)),
    )


def rows_that_staging_rejects(cursor: Any, batch_id: int) -> int:
    """Return how many rows of a batch staging rejects; 0 before the first build."""
    schema = f"{os.environ.get('GRANARY_SCHEMA_PREFIX') or ''}staging"
    view = sql.Identifier(schema, "stg_ledger__rejected_values")
    cursor.execute("select to_regclass(%s)", [view.as_string(cursor)])
    if cursor.fetchone() == (None,):
        return 0
    query = "select count(distinct _row_id) from {} where _batch_id = %s and severity = 'row'"
    cursor.execute(sql.SQL(query).format(view), [batch_id])
    return cursor.fetchone()[0]


def usual_rows(cursor: Any, file: LandingFile, batch_id: int) -> float | None:
    """Return the median row count of earlier incremental batches of the entity or brand; None for an initial file."""
    if file.relative.startswith("initial/"):
        return None
    cursor.execute(
        "select rows_read from raw._batches where feed = %s and entity = %s and brand is not distinct from %s"
        " and batch_id < %s and status = 'loaded' and path like 'incremental/%%'",
        [file.entity.feed, file.entity.name, file.brand, batch_id],
    )
    counts = [rows for (rows,) in cursor.fetchall()]
    return statistics.median(counts) if counts else None


def judge(batches: list[Batch], limits: Limits) -> dict[str, tuple[list[str], dg.AssetCheckSeverity]]:
    """Return, for each check, what is wrong with an entity's batches (one line each) and the severity."""
    counts, shares, refused, new = [], [], [], []
    too_many = False
    for batch in batches:
        allowed = declared.reject_limits(batch.file.entity)
        label, rejected = batch.file.label, batch.rejected_lines + batch.rejected_rows
        if batch.problem:
            refused.append(batch.problem)
        ratio = batch.rows / batch.usual_rows if batch.usual_rows else 1
        if not 1 / limits.row_count_factor <= ratio <= limits.row_count_factor:
            counts.append(f"{label}: {batch.rows:,} rows, against a median of {batch.usual_rows:,.0f} before")
        if rejected and rejected > allowed["warn_above"] * batch.rows:
            shares.append(f"{label}: {rejected:,} of {batch.rows:,} rows are rejected")
            too_many |= rejected == batch.rows or rejected > allowed["fail_above"] * batch.rows
        if batch.new_columns:
            new.append(f"{label}: new column {', '.join(batch.new_columns)}")
    error, warn = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
    return {
        "row_count": (counts, error),
        "schema_drift": (refused + new, error if refused else warn),
        "rejected_share": (shares, error if too_many else warn),
    }
