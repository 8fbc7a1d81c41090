"""The warehouse as a DAG: load, build layer by layer, check the marts, write the reports.

Each task calls one or two of the project's commands, and its log has their output.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import chain, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

ROOT = Path(__file__).resolve().parents[3]
SHOWN_LINES = 60  # of the output of a command that failed

# Seeds and models are selected by their files. Each test runs in the layer that has the last of the models it needs.
SEEDS = ["path:seeds/**/*.csv"] if any(ROOT.glob("dbt/seeds/**/*.csv")) else []  # dbt warns if there are none
LAYERS = {
    "staging": [*SEEDS, "path:models/staging/**/*.sql"],
    "intermediate": ["path:models/intermediate/**/*.sql"],
    "marts": ["path:models/marts/**/*.sql"],
}

# Only what was delivered before can be overdue.
DELIVERED = "select distinct concat('source:', feed, '.', entity) from raw._batches where status = 'loaded' order by 1"


def run(*command: str) -> list[str]:
    """Run a command of the project, with its output in the task's log; return its lines.

    Raises AirflowException, with the last of these lines, if the command fails. The command ends when the task does.
    It is like granary.process.run, which Airflow can't import: it has its own Python environment.
    """
    tied = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
    lines = []
    print("$", shlex.join(command), flush=True)
    with subprocess.Popen(
        [*tied, str(ROOT / command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                print(lines[-1], flush=True)
        except BaseException:  # such as the task's timeout
            process.terminate()
            raise
    if process.returncode:
        end = "\n".join(lines[-SHOWN_LINES:])
        raise AirflowException(f"{command[0]} failed with exit code {process.returncode}:\n{end}")
    return lines


def say_why(context: dict[str, Any]) -> None:
    """Print one line about why a task failed, because `bin/airflow run` doesn't show Airflow's own log."""
    error, limit = context["exception"], context["task"].execution_timeout
    reason = f"it took longer than {limit} hours" if isinstance(error, AirflowTaskTimeout) else str(error)
    first_line = reason.partition("\n")[0].rstrip(":") or type(error).__name__
    print(f"{context['ti'].task_id} failed: {first_line}", flush=True)


def say_why_and_when(context: dict[str, Any]) -> None:
    """Print also when the task will be retried."""
    say_why(context)
    print(f"{context['ti'].task_id} will be retried in {context['task'].retry_delay.seconds} seconds", flush=True)


@dag(
    schedule="@daily",
    start_date=datetime(1970, 1, 1, tzinfo=timezone.utc),  # a run for an earlier date would do nothing
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args={
        "owner": "granary",
        "on_failure_callback": say_why,
        "on_retry_callback": say_why_and_when,
        "retries": 1,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(hours=2),  # including the time it waits for another load or build
    },
    tags=["granary"],
    doc_md=__doc__,
)
def granary() -> None:
    """Define the tasks and their order."""

    @task
    def ingest() -> None:
        """Load the new files of the landing folder."""
        run("bin/ingest")

    @task
    def build(layer: str) -> None:
        """Build a layer and run its tests.

        A retry builds the layers before it, too: tests compare layers, and fail if something was loaded in between.
        """
        names = list(LAYERS)
        is_first_try = get_current_context()["ti"].try_number == 1
        layers = [layer] if is_first_try else names[: names.index(layer) + 1]
        run("bin/dbt", "--bar", "build", "--select", *(path for name in layers for path in LAYERS[name]))

    @task
    def check_mart_quality() -> None:
        """Check that no feed is overdue, and run the tests of the marts and those of dbt/tests again."""
        query = ("--no-psqlrc", "--tuples-only", "--no-align", "--command", DELIVERED)
        if delivered := run("bin/warehouse", "psql", *query):
            run("bin/dbt", "--quiet", "source", "freshness", "--select", *delivered)
        tests = ("--select", "path:models/marts", "path:tests", "--exclude-resource-type", "unit_test")
        run("bin/dbt", "--bar", "test", *tests)

    @task
    def export_report() -> None:
        """Write the marts that have config.meta.export, with the date of the run (logical, or when it was due)."""
        dag_run = get_current_context()["dag_run"]
        run("bin/report", "--scheduled", "--date", f"{dag_run.logical_date or dag_run.run_after:%Y-%m-%d}")

    layers = [build.override(task_id=layer)(layer) for layer in LAYERS]
    chain(ingest(), *layers, check_mart_quality(), export_report())


granary()
