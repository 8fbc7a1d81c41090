"""The warehouse as a DAG: load, build layer by layer, look at the marts once more, write a report.

Each task is one or two calls of the project's own commands, so it does what they do by hand, and says what they say.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from airflow.sdk import dag, get_current_context, task
from airflow.sdk.exceptions import AirflowException, AirflowTaskTimeout

ROOT = Path(__file__).resolve().parents[3]
REPORT = "course_engagement"
SHOWN_LINES = 60  # of what a command that failed has said

# Seeds and models are named by their files. Their tests follow, each in the layer that has the last of what it needs.
LAYERS = {
    "staging": ["path:seeds/**/*.csv", "path:models/staging/**/*.sql"],
    "intermediate": ["path:models/intermediate/**/*.sql"],
    "marts": ["path:models/marts/**/*.sql"],
}

# A feed that was never delivered is not late.
DELIVERED = "select distinct concat('source:', feed, '.', entity) from raw._batches where status = 'loaded' order by 1"


def run(*command: str) -> list[str]:
    """Run a command of the project, with its output in the task's log; return its lines.

    Raises AirflowException, with the last of these lines, if the command fails. The command ends with the task, however
    that ends.
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
        said = "\n".join(lines[-SHOWN_LINES:])
        raise AirflowException(f"{command[0]} ended with exit code {process.returncode}:\n{said}")
    return lines


def ask(question: str) -> list[str]:
    """Return the rows of a query as text; raise as `run` does."""
    return run("bin/warehouse", "psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command", question)


def build(layer: str) -> None:
    """Build a layer and run its tests.

    When it is tried again, all before it is built, too: its tests compare the layers, and would fail where a load from
    elsewhere came in between.
    """
    names = list(LAYERS)
    is_first_try = get_current_context()["ti"].try_number == 1
    layers = [layer] if is_first_try else names[: names.index(layer) + 1]
    run("bin/dbt", "--bar", "build", "--select", *(path for name in layers for path in LAYERS[name]))


def say_why(context: dict[str, Any]) -> None:
    """Print in a line why a task failed, for those who don't see Airflow's own log."""
    error, limit = context["exception"], context["task"].execution_timeout
    reason = f"it took longer than {limit} hours" if isinstance(error, AirflowTaskTimeout) else str(error)
    first_line = reason.partition("\n")[0].rstrip(":") or type(error).__name__
    print(f"{context['ti'].task_id} failed: {first_line}", flush=True)


def say_why_and_when(context: dict[str, Any]) -> None:
    """Print also when the task is tried again."""
    say_why(context)
    print(f"{context['ti'].task_id} is tried again in {context['task'].retry_delay.seconds} seconds", flush=True)


@dag(
    schedule="@daily",
    start_date=datetime(1970, 1, 1, tzinfo=timezone.utc),  # a run of an earlier date would do nothing, and succeed
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
    default_args={
        "owner": "granary",
        "on_failure_callback": say_why,
        "on_retry_callback": say_why_and_when,
        "retries": 1,
        "retry_delay": timedelta(minutes=1),
        "execution_timeout": timedelta(hours=2),  # waiting for another load or build counts, too
    },
    tags=["granary"],
    doc_md=__doc__,
)
def granary() -> None:
    """Chain the tasks."""

    @task
    def ingest() -> None:
        """Load what is new in the landing folder."""
        run("bin/ingest")

    @task
    def staging() -> None:
        """Build the seeds and the staging views."""
        build("staging")

    @task
    def intermediate() -> None:
        """Build the intermediate models."""
        build("intermediate")

    @task
    def marts() -> None:
        """Build the marts."""
        build("marts")

    @task
    def check_mart_quality() -> None:
        """Look at the marts once more: the report has rows, keys have values, sums agree, and no feed is overdue."""
        if ask(f"select count(*) from marts.{REPORT}") == ["0"]:
            raise AirflowException(f"marts.{REPORT} has no rows, so there is nothing to report")
        run("bin/dbt", "--bar", "test", "--select", "path:models/marts,test_name:not_null", "path:tests")
        run("bin/dbt", "--quiet", "source", "freshness", "--select", *ask(DELIVERED))

    @task
    def export_report() -> None:
        """Write the report, with the date of the run in its name: the logical date, or when it was due."""
        dag_run = get_current_context()["dag_run"]
        run("bin/report", REPORT, "--date", f"{dag_run.logical_date or dag_run.run_after:%Y-%m-%d}")

    ingest() >> staging() >> intermediate() >> marts() >> check_mart_quality() >> export_report()


granary()
