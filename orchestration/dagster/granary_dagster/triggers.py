"""Jobs, and what starts them: schedules, and a sensor for new files."""

import contextlib
import hashlib
import time

import dagster as dg
import psycopg2

from granary.extract import extractors
from granary.loader import raw_tables
from granary.loader.landing import LandingFile
from granary.project import schema_prefix
from granary_dagster import resources
from granary_dagster.extracting import extraction_key
from granary_dagster.resources import key_of

SETTLED = 15  # seconds since the last change of a file; before that, it may still be being written

everything_but_fetching = dg.AssetSelection.all() - dg.AssetSelection.assets(*map(extraction_key, extractors()))
warehouse_job = dg.define_asset_job(
    "warehouse", everything_but_fetching, description="Load new files and build everything, as `make` does."
)
feed_jobs = [
    dg.define_asset_job(
        feed,
        dg.AssetSelection.assets(extraction_key(feed)).downstream(),
        description=f"Fetch {feed}, load it, and build everything that depends on it.",
    )
    for feed in extractors()
]
jobs = [warehouse_job, *feed_jobs]
times = [("daily", warehouse_job, "0 5 * * *"), *((f"{job.name}_six_hourly", job, "30 */6 * * *") for job in feed_jobs)]
schedules = [
    dg.ScheduleDefinition(name=name, job=job, cron_schedule=cron, execution_timezone="UTC") for name, job, cron in times
]


@dg.sensor(
    name="new_files",
    target=everything_but_fetching,
    minimum_interval_seconds=30,
    description="Loads new files of the data folder, and builds everything that depends on their tables.",
)
def new_files(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    """Request a run when the set of new files has changed. Files that did not load are not tried again."""
    loaded = loaded_paths()
    files = [file for file in resources.landing_files() if file.relative not in loaded]
    if not files:
        return dg.SkipReason("no new files")
    if any(time.time() - file.path.stat().st_mtime < SETTLED for file in files):
        return dg.SkipReason("a file may still be being written")
    for file in files:
        if not file.entity:
            context.log.warning(f"{file.relative} is not a file of a declared entity")
    known = [file for file in files if file.entity]
    if not known:
        return dg.SkipReason("no new files of a declared entity")
    return dg.RunRequest(run_key=fingerprint(known), asset_selection=changed_by(context, known))


def loaded_paths() -> set[str]:
    """Return the paths of the loaded files."""
    with contextlib.suppress(psycopg2.errors.UndefinedTable), resources.reading() as cursor:
        return set(raw_tables.loaded_batches(cursor))
    return set()


def is_built() -> bool:
    """Return whether everything was built once. Before that, a part can't be built."""
    with contextlib.suppress(psycopg2.errors.UndefinedTable), resources.reading() as cursor:
        everything = "coalesce(selection, 'fqn:*') = 'fqn:*'"  # the latter is what dagster-dbt selects
        query = f"select count(*) from raw._builds where status = 'passed' and schema_prefix = %s and {everything}"
        cursor.execute(query, [schema_prefix()])
        return cursor.fetchone() != (0,)
    return False


def changed_by(context: dg.SensorEvaluationContext, files: list[LandingFile]) -> list[dg.AssetKey] | None:
    """Return the tables of the files and everything downstream; before the first build None, which means all."""
    if not is_built():
        return None
    graph = context.repository_def.asset_graph
    tables = dg.AssetSelection.assets(*{key_of(file.entity) for file in files})
    return sorted(tables.downstream().resolve(graph))


def fingerprint(files: list[LandingFile]) -> str:
    """Return a hash that changes when a file is added or modified."""
    parts = sorted((file.relative, file.path.stat().st_size, file.path.stat().st_mtime_ns) for file in files)
    return hashlib.sha256(repr(parts).encode()).hexdigest()
