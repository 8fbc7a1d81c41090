"""What starts runs: two schedules, and a sensor that sees new files."""

import contextlib
import hashlib
import os
import time

import dagster as dg
import psycopg2

from granary.loader.landing import LandingFile
from granary_dagster import resources
from granary_dagster.resources import key_of

SETTLED = 15  # seconds since the last change of a file: a shorter time may mean that it is still being written

warehouse_job = dg.define_asset_job(
    "warehouse",
    dg.AssetSelection.all() - dg.AssetSelection.groups("extract"),
    description="Load what is new, and build everything: what make does.",
)
market_job = dg.define_asset_job(
    "market",
    dg.AssetSelection.assets(["market", "coingecko"]).downstream(),
    description="Fetch the market feed, load it, and build what depends on it: what make market does.",
)
schedules = [
    dg.ScheduleDefinition(name="daily", job=warehouse_job, cron_schedule="0 5 * * *", execution_timezone="UTC"),
    dg.ScheduleDefinition(name="six_hourly", job=market_job, cron_schedule="30 */6 * * *", execution_timezone="UTC"),
]


@dg.sensor(
    name="new_files",
    target=dg.AssetSelection.all() - dg.AssetSelection.groups("extract"),
    minimum_interval_seconds=30,
    description="Loads new files of the data folder, and builds what depends on their tables.",
)
def new_files(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Ask for a run whenever there are other new files than before. What did not load then is not tried again."""
    loaded = loaded_paths()
    files = [file for file in resources.landing_files() if file.relative not in loaded]
    if not files:
        return dg.SkipReason("no new files")
    if any(time.time() - file.path.stat().st_mtime < SETTLED for file in files):
        return dg.SkipReason("a file has just been written, or still is")
    for file in files:
        if not file.entity:
            context.log.warning(f"{file.relative} is no file of a declared entity")
    known = [file for file in files if file.entity]
    if not known:
        return dg.SkipReason("no new files of a declared entity")
    return dg.RunRequest(run_key=fingerprint(known), asset_selection=touched_by(context, known))


def loaded_paths() -> set[str]:
    """Return the paths of all files that are loaded."""
    with contextlib.suppress(psycopg2.errors.UndefinedTable), resources.reading() as cursor:
        cursor.execute("select path from raw._batches where status = 'loaded'")
        return {path for (path,) in cursor.fetchall()}
    return set()


def is_built() -> bool:
    """Tell whether everything was built once, so that a part can be."""
    with resources.reading() as cursor:
        cursor.execute("select to_regclass('raw._builds')")
        if cursor.fetchone() == (None,):
            return False
        everything = "coalesce(selection, 'fqn:*') = 'fqn:*'"  # the latter is dagster-dbt's way to say it
        query = f"select count(*) from raw._builds where status = 'passed' and schema_prefix = %s and {everything}"
        cursor.execute(query, [os.environ.get("GRANARY_SCHEMA_PREFIX") or ""])
        return cursor.fetchone() != (0,)


def touched_by(context: dg.SensorEvaluationContext, files: list[LandingFile]) -> list[dg.AssetKey] | None:
    """Return the tables that files go to, and what depends on them; before the first build None, which is all."""
    if not is_built():
        return None
    graph = context.repository_def.asset_graph
    tables = dg.AssetSelection.assets(*{key_of(file.entity) for file in files})
    return sorted(tables.downstream().resolve(graph))


def fingerprint(files: list[LandingFile]) -> str:
    """Return what changes whenever a file comes, or is corrected."""
    parts = sorted((file.relative, file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in files)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
