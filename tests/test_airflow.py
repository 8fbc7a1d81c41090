"""Airflow: the DAG builds what `bin/dbt build` builds, is red when it should be, and survives kills and overlaps."""

from __future__ import annotations

import datetime
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests

from conftest import DBT, MODELS_ONLY, ROOT, Database, free_port, new_build, run_command, scratch_directory, wait_until
from copies import apart, differences
from granary.server.lock import IN_TURN, TABLE
from granary_airflow import run as run_airflow

pytestmark = [pytest.mark.orchestration, pytest.mark.feeds("courses", "tickets")]

PYTHON = run_airflow.AIRFLOW.with_name("python")
DATE = "1999-12-31"  # the date of the tests' reports
TASKS = ["ingest", "staging", "intermediate", "marts", "check_mart_quality", "export_report"]
RUN_TIMEOUT = 900  # seconds: it is half a minute of work, on machines that may be busy

DESCRIBE = """
import json, granary
from airflow.dag_processing.bundles.manager import DagBundlesManager
dag = granary.granary()
print(json.dumps({
    "order": [[task.task_id, sorted(task.downstream_task_ids)] for task in dag.topological_sort()],
    "has_limits": all(task.retries and task.execution_timeout for task in dag.tasks) and dag.dagrun_timeout is not None,
    "runs_at_once": dag.max_active_runs,
    "layers": granary.LAYERS,
    "bundles": [bundle.name for bundle in DagBundlesManager().get_all_dag_bundles()],
}))
"""
# The other tasks count as done.
RUN_SOME = """
import datetime, re, sys, granary
dag = granary.granary()
for task in dag.tasks:
    task.retries, task.retry_delay = int(sys.argv[3]), datetime.timedelta(0)
    task.execution_timeout = datetime.timedelta(seconds=float(sys.argv[4]))
date = datetime.datetime.fromisoformat(sys.argv[1]).replace(tzinfo=datetime.timezone.utc) if sys.argv[1] else None
run = dag.test(logical_date=date, mark_success_pattern=re.compile(f"(?!({sys.argv[2]})$).*"))
sys.exit(run.state != "success")
"""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home for Airflow, with a space in its path."""
    with scratch_directory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRANARY_AIRFLOW_HOME", str(directory / "air flow"))
        done = run_command("bin/airflow", "db", "migrate", env={"GRANARY_AIRFLOW_HOME": str(directory / "air flow")})
        assert done.returncode == 0, done.stdout + done.stderr
        yield directory / "air flow"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The initial sample data, and a landing folder to deliver more."""
    directory = tmp_path_factory.mktemp("landing") / "data"
    shutil.copytree(ROOT / "data" / "initial", directory / "initial")
    (directory / "incremental").mkdir()
    return directory


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database], home: Path, data: Path) -> Database:
    """A warehouse with the initial data, and what leads Airflow there."""
    created = new_build(new_database, "--initial")
    settings = {
        "GRANARY_AIRFLOW_HOME": str(home),
        "GRANARY_DATA": str(data),
        "DBT_EXCLUDE_RESOURCE_TYPES": "unit_test",  # a quarter of a build, and they see nothing of what is loaded
    }
    return Database(created.name, created.environment | settings)


@pytest.fixture
def report() -> Iterator[Path]:
    """The report of a run as of DATE, which goes with the test."""
    path = ROOT / "output" / "reports" / f"course_engagement_{DATE}.csv"
    path.unlink(missing_ok=True)
    yield path
    path.unlink(missing_ok=True)


def start(database: Database, *command: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start a command in a session of its own, as a terminal does."""
    return database.start(*command, stderr=subprocess.STDOUT, start_new_session=True)


def run_tasks(
    database: Database, pattern: str, *, date: str = DATE, retries: int = 0, timeout: float = RUN_TIMEOUT
) -> subprocess.CompletedProcess[str]:
    """Run the tasks of the DAG whose names fit, as if the others had succeeded; `timeout`: of each, in seconds."""
    settings = run_airflow.environment() | database.environment
    settings |= {"PYTHONPATH": str(ROOT / "orchestration" / "airflow" / "dags")}
    arguments = (date, pattern, str(retries), str(timeout))
    return run_command(PYTHON, "-c", RUN_SOME, *arguments, env=settings, timeout=RUN_TIMEOUT)


def deliver(data: Path, batches: str) -> None:
    """Deliver the incremental batches whose names fit."""
    for path in (ROOT / "data" / "incremental").glob(f"*/*/{batches}.*"):
        target = data / path.relative_to(ROOT / "data")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)


def assert_as_if_built_in_one(database: Database) -> None:
    """See that a build of everything, in a copy of its own, gives the same rows."""
    env = apart(database.environment["DBT_TARGET_PATH"])
    done = database.run(*DBT, "build", *MODELS_ONLY, env=env)
    assert done.returncode == 0, done.stdout
    assert differences(database) == []


@contextmanager
def lock(database: Database) -> Iterator[None]:
    """Hold the lock of loads and builds, so that a task waits."""
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f"begin; {IN_TURN}")
        yield


def waiting(database: Database) -> int:
    """How many wait for the lock."""
    waits = "select count(*) from pg_locks where relation = %s::regclass and not granted"
    return database.query(waits, [TABLE])[0][0]


# -- The DAG -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def described(home: Path) -> dict:
    settings = run_airflow.environment() | {"PYTHONPATH": str(ROOT / "orchestration" / "airflow" / "dags")}
    done = run_command(PYTHON, "-c", DESCRIBE, env=settings)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_tasks_are_a_chain_with_limits(described: dict) -> None:
    assert described["order"] == [[task, TASKS[number : number + 1]] for number, task in enumerate(TASKS, start=1)]
    assert described["has_limits"]
    assert described["runs_at_once"] == 1
    assert described["bundles"] == ["dags-folder"]  # no examples


def test_the_layers_are_all_there_is_to_build_and_each_has_its_own(described: dict, warehouse: Database) -> None:
    everything = nodes(warehouse)
    layers = {name: nodes(warehouse, "--select", *paths) for name, paths in described["layers"].items()}
    assert {name.partition(".")[0] for name in everything} == {"model", "seed", "test", "unit_test"}
    assert sorted(node for layer in layers.values() for node in layer) == sorted(everything)


def nodes(warehouse: Database, *selection: str) -> list[str]:
    """What dbt would build, unit tests included."""
    command = ("bin/dbt", "--quiet", "ls", "--output", "json", "--output-keys", "unique_id", *selection)
    done = warehouse.run(*command, env={"DBT_EXCLUDE_RESOURCE_TYPES": ""})
    assert done.returncode == 0, done.stdout
    found = [json.loads(line)["unique_id"] for line in done.stdout.splitlines()]
    return [name for name in found if not name.startswith(("source.", "exposure.", "metric."))]


# -- Runs, on one warehouse, one after the other -----------------------------------------------------------------------


def test_a_load_between_two_tasks_is_caught_up_with(warehouse: Database, data: Path) -> None:
    deliver(data, "batch_001")
    assert warehouse.run("bin/ingest").returncode == 0
    done = run_tasks(warehouse, "marts", retries=1)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Failure in test") > 0, "the layers didn't differ, so the first try should not fail"


def test_a_run_waits_for_one_that_is_killed_and_brings_all_up_to_date(
    warehouse: Database, data: Path, report: Path, tmp_path: Path
) -> None:
    deliver(data, "batch_*")
    count = "select count(*) from intermediate.int_tickets__order_versions"
    before = warehouse.query(count)
    with start(warehouse, "bin/airflow", "run", DATE) as first:
        wait_until(lambda: warehouse.query(count) != before, first, RUN_TIMEOUT)
        with start(warehouse, "bin/airflow", "run", DATE) as second:
            assert second.stdout.readline().startswith("waiting until the Airflow that is running in ")
            processes = psutil.Process(first.pid).children(recursive=True)
            first.kill()  # only this one: what it started must end with it
            first.communicate(timeout=60)
            assert psutil.wait_procs(processes, timeout=60)[1] == []
            said = second.communicate(timeout=RUN_TIMEOUT)[0]
    assert second.returncode == 0, said
    ended = r"^dbt build: .* in \d+ s: (?:all|\d+) passed(?:, \d+ with warnings)?$"
    assert len(re.findall(ended, said, flags=re.MULTILINE)) == 3
    warehouse.run("bin/report", "course_engagement", "--date", DATE, "--output-dir", tmp_path)
    assert report.read_bytes() == (tmp_path / report.name).read_bytes()
    assert report.read_text().count("\n") > 30
    assert_as_if_built_in_one(warehouse)


@pytest.mark.parametrize(
    ("broken", "mended", "said"),
    [
        (
            "update marts.money_reconciliation set difference_usd = 1 where step_number = 1;"
            "update marts.course_engagement set learners = learners - 1000",
            "update marts.money_reconciliation set difference_usd = 0 where step_number = 1;"
            "update marts.course_engagement set learners = learners + 1000",
            ["Failure in test money_is_reconciled", "Failure in test course_engagement_has_no_more_active_learners"],
        ),
        (
            "update raw._batches set finished_at = finished_at - interval '8 days' where feed = 'courses'",
            "update raw._batches set finished_at = finished_at + interval '8 days' where feed = 'courses'",
            ["ERROR STALE freshness of courses."],
        ),
    ],
    ids=["tests", "freshness"],
)
def test_marts_are_checked_before_the_report(warehouse: Database, broken: str, mended: str, said: list[str]) -> None:
    warehouse.query(broken)
    done = run_tasks(warehouse, "check_mart_quality")
    warehouse.query(mended)
    assert done.returncode == 1
    assert [text for text in said if text not in done.stdout] == []


def test_a_report_without_rows_turns_the_run_red(warehouse: Database, report: Path) -> None:
    warehouse.query("create table marts.kept as table marts.course_engagement; delete from marts.course_engagement")
    done = run_tasks(warehouse, "export_report")
    warehouse.query("insert into marts.course_engagement table marts.kept; drop table marts.kept")
    assert done.returncode == 1
    assert "error: course_engagement has no rows, although batches of courses are loaded" in done.stdout
    assert not report.exists()


def test_a_run_without_a_date_takes_the_day_on_which_it_was_due(warehouse: Database) -> None:
    reports = ROOT / "output" / "reports"
    today = f"course_engagement_{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}.csv"
    existed = (reports / today).exists()
    done = run_tasks(warehouse, "export_report", date="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{reports / today}: " in done.stdout
    if not existed:
        (reports / today).unlink()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_run_that_is_stopped_leaves_nothing_behind(warehouse: Database, number: int, code: int) -> None:
    with lock(warehouse), start(warehouse, "bin/airflow", "run", DATE) as run:
        wait_until(lambda: waiting(warehouse), run, RUN_TIMEOUT)
        processes = psutil.Process(run.pid).children(recursive=True)
        run.send_signal(number)
        said = run.communicate(timeout=120)[0]
        assert run.returncode == code
        assert "Traceback" not in said
        assert psutil.wait_procs(processes, timeout=5)[1] == []
        wait_until(lambda: waiting(warehouse) == 0, seconds=30)  # a session ends a moment after its process


def test_a_task_has_a_limit_of_time(warehouse: Database) -> None:
    with lock(warehouse):
        done = run_tasks(warehouse, "ingest", timeout=5)
        assert done.returncode == 1
        assert "ingest failed: it took longer than 0:00:05 hours\n" in done.stdout
        wait_until(lambda: waiting(warehouse) == 0, seconds=30)  # a session ends a moment after its process


def test_a_failed_test_turns_the_run_red(warehouse: Database, report: Path) -> None:
    add = "update marts.fct_orders set order_total_usd = order_total_usd + %s"
    one = "where order_id = (select min(order_id) from marts.fct_orders)"
    warehouse.query(f"{add} {one}", [1])
    done = run_tasks(warehouse, "marts|check_mart_quality|export_report")
    warehouse.query(f"{add} {one}", [-1])
    assert done.returncode == 1
    assert "marts failed: bin/dbt failed with exit code 1" in done.stdout
    path = "tests/tickets/order_totals_are_conserved.sql"
    assert f"Failure in test order_totals_are_conserved ({path})" in done.stdout
    sql = Path(warehouse.environment["DBT_TARGET_PATH"], "compiled", "granary", path)
    assert f"fail  order_totals_are_conserved: its SQL is in {sql}\n" in done.stdout
    assert sql.exists()
    assert "$ bin/report" not in done.stdout
    assert not report.exists()


def test_a_bad_batch_turns_the_run_red(warehouse: Database, data: Path, report: Path) -> None:
    batch = data / "incremental" / "courses" / "enrolments" / "bad.csv"
    batch.parent.mkdir(parents=True, exist_ok=True)
    batch.write_text("enrolment_id,user_id,course_id,course_id\nn_9001,u_001,k_01,k_02\n")
    done = warehouse.run("bin/airflow", "run", DATE, timeout=RUN_TIMEOUT)
    batch.unlink()
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stdout.count("$ bin/ingest") == 2
    assert "incremental/courses/enrolments/bad.csv" in done.stdout
    assert "ingest failed: bin/ingest failed with exit code 1" in done.stdout
    assert "$ bin/dbt" not in done.stdout
    assert not report.exists()


def test_a_replaced_batch_says_what_to_do(warehouse: Database, data: Path) -> None:
    path = data / "initial" / "tickets" / "events.csv"
    path.write_text(path.read_text() + "e_99,Later,later\n")
    assert warehouse.run("bin/ingest", "--replace", "tickets/events/initial").returncode == 0
    done = run_tasks(warehouse, "staging")
    assert done.returncode == 1
    assert "Rebuild once: bin/dbt build --full-refresh" in done.stdout + done.stderr


# -- The server --------------------------------------------------------------------------------------------------------


def test_the_server_knows_the_dag_and_leaves_nothing_behind(warehouse: Database) -> None:
    port = free_port()
    with start(warehouse, "bin/airflow", "serve", "--port", str(port)) as server:
        assert server.stdout.readline() == f"Airflow is at http://127.0.0.1:{port}, without a login. Ctrl-C stops it.\n"
        parts = psutil.Process(server.pid).children(recursive=True)
        address = f"http://127.0.0.1:{port}"
        token = requests.get(f"{address}/auth/token", timeout=30).json()["access_token"]
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {token}"
        wait_until(lambda: dags_of(session, address), server, RUN_TIMEOUT)
        assert dags_of(session, address) == [("granary", True)]
        assert session.get(f"{address}/api/v2/importErrors", timeout=30).json()["total_entries"] == 0
        session.close()
        assert {address for part in parts for address in listening(part)} == {("127.0.0.1", port)}
        server.send_signal(signal.SIGINT)
        said = server.communicate(timeout=120)[0]
    assert server.returncode == 130, said
    assert [part for part in parts if part.is_running()] == []


def listening(process: psutil.Process) -> list[tuple[str, int]]:
    """Where a process listens, if it is still there."""
    with suppress(psutil.NoSuchProcess):
        return [tuple(c.laddr) for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    return []


def dags_of(session: requests.Session, address: str) -> list[tuple[str, bool]]:
    """The DAGs that the server has found, and whether each is paused."""
    found = session.get(f"{address}/api/v2/dags", timeout=30).json()["dags"]
    return [(dag["dag_id"], dag["is_paused"]) for dag in found]


def test_what_is_wrong_is_said_in_words(warehouse: Database) -> None:
    for date in ("2026-02-30", "20260203", "yesterday", "1969-12-31"):
        done = warehouse.run("bin/airflow", "run", date)
        assert done.returncode == 1
        assert done.stderr == f"error: invalid date {date!r}: write it like 2026-02-03; the earliest is 1970-01-01\n"
    taken = warehouse.run("bin/airflow", "serve", "--port", "99999")
    assert taken.stderr == "error: invalid port 99999: choose 1 to 65535\n"
