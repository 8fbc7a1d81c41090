"""Builds that meet each other, are killed, follow a replaced file, or run beside a second copy."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import DBT, MODELS_ONLY, ROOT, Database, new_build, wait_until
from copies import FULL, apart, differences
from granary.loader import raw_tables

pytestmark = pytest.mark.feeds("tickets")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The initial sample data, and a landing folder to deliver more."""
    shutil.copytree(ROOT / "data" / "initial", tmp_path / "data" / "initial")
    (tmp_path / "data" / "incremental").mkdir()
    return tmp_path / "data"


@pytest.fixture(scope="module")
def initial(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Database:
    """The initial sample data, built."""
    data = tmp_path_factory.mktemp("data")
    shutil.copytree(ROOT / "data" / "initial", data / "initial")
    return new_build(new_database, "--data-dir", data)


@pytest.fixture
def built(new_database: Callable[[Database, str], Database], initial: Database) -> Database:
    """A copy of it."""
    return new_database(initial, "rebuilt")


def succeeds(database: Database, *command: object, prefix: str = "") -> str:
    done = database.run(*command, env=apart(database.environment["DBT_TARGET_PATH"], prefix))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


BUILD = (*DBT, "build", *MODELS_ONLY)


def deliver_the_rest(data: Path) -> None:
    shutil.copytree(ROOT / "data" / "incremental", data / "incremental", dirs_exist_ok=True)


def test_two_builds_at_once_take_turns(built: Database, data: Path) -> None:
    deliver_the_rest(data)
    succeeds(built, "bin/ingest", "--data-dir", data)
    with built.start(*BUILD) as one, built.start(*BUILD) as other:
        said = [build.communicate(timeout=300)[1] for build in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), said
    assert sum("waiting" in each for each in said) == 1, said
    succeeds(built, *BUILD, prefix=FULL)
    assert differences(built) == []


def test_changed_rows_tell_by_which_batch(built: Database, data: Path) -> None:
    """Data tests leave out the rows that `changed_batches`, in the meta of a model, says are as they were."""
    succeeds(built, "bin/dbt", "--quiet", "parse")
    nodes = json.loads((Path(built.environment["DBT_TARGET_PATH"]) / "manifest.json").read_text())["nodes"].values()
    models = {
        node["relation_name"].partition(".")[2]: node["config"]["meta"]["changed_batches"]
        for node in nodes
        if node["resource_type"] == "model" and node["config"]["meta"].get("changed_batches")
    }
    ((newest,),) = built.query("select max(batch_id) from raw._batches")
    built.query("create schema before")
    for relation in models:
        built.query(f"create table before.{relation.partition('.')[2]} as select * from {relation}")
    deliver_the_rest(data)
    succeeds(built, "bin/ingest", "--data-dir", data)
    succeeds(built, *BUILD)
    found = {}
    for relation, columns in models.items():
        newer = " or ".join(f"{column} > {newest}" for column in columns)
        changed = f"(select * from {relation} except all select * from before.{relation.partition('.')[2]}) as changed"
        ((count, silent),) = built.query(
            f"select count(*), count(*) filter (where ({newer}) is not true) from {changed}"
        )
        found[relation] = count
        assert silent == 0, relation
    assert found['"staging"."stg_tickets__orders"'] > 0
    assert found['"intermediate"."int_identity__resolved_customers"'] > 0


def test_a_killed_build_is_made_good_by_the_next_one(built: Database, data: Path) -> None:
    deliver_the_rest(data)
    succeeds(built, "bin/ingest", "--data-dir", data)
    count = "select count(*) from intermediate.int_tickets__order_versions"
    versions = built.query(count)
    with built.start(*BUILD) as build:
        wait_until(lambda: built.query(count) != versions, build)
        build.kill()
    weekly = "select sum(order_count) from marts.fct_weekly_sales"
    assert (
        built.query(weekly)[0][0]
        < built.query("select count(distinct order_id) from staging.stg_tickets__orders")[0][0]
    )
    succeeds(built, *BUILD)
    succeeds(built, *BUILD, prefix=FULL)
    assert differences(built) == []


def test_a_build_without_new_batches_changes_nothing(built: Database) -> None:
    succeeds(built, *BUILD, prefix=FULL)
    succeeds(built, *BUILD)
    assert differences(built) == []


def test_a_replaced_batch_asks_for_a_full_refresh_and_leaves_nothing_behind(built: Database, data: Path) -> None:
    path = data / "initial" / "tickets" / "orders.csv"
    lines = path.read_text().splitlines(keepends=True)
    gone = lines.pop(60).split(",")[0]
    path.write_text("".join(lines))
    refused = built.run("bin/ingest", "--data-dir", data)
    assert refused.returncode == 1
    assert "bin/ingest --replace tickets/orders/initial" in refused.stderr

    succeeds(built, "bin/ingest", "--data-dir", data, "--replace", "tickets/orders/initial")
    stopped = built.run(*DBT, "build")
    assert stopped.returncode != 0
    assert "bin/dbt build --full-refresh" in stopped.stdout + stopped.stderr

    succeeds(built, *DBT, "build", "--full-refresh")
    assert built.query("select count(*) from marts.fct_orders where order_id = %s", [gone]) == [(0,)]
    (replaced,) = built.query("select rows_loaded from raw._batches where status = 'replaced'")
    reasons = "select count(distinct _row_id) from marts.rejected_rows where reason like '%%replaced%%'"
    assert built.query(reasons) == [replaced]
    succeeds(built, *BUILD)  # from now on, builds are incremental again


def test_a_replaced_batch_of_any_entity_asks_for_a_full_refresh(built: Database, data: Path) -> None:
    path = data / "initial" / "tickets" / "identity_merges.csv"
    path.write_text(path.read_text() + "c_0001,c_0016,2026-03-01\n")
    succeeds(built, "bin/ingest", "--data-dir", data, "--replace", "tickets/identity_merges/initial")
    # Where only the models with the rows themselves are rebuilt, what is derived from them is still the old.
    for rebuilt in ([], ["int_tickets__identity_merges", "+rejected_rows"]):
        if rebuilt:
            succeeds(built, *DBT, "run", "--full-refresh", "--select", *rebuilt)
        stopped = built.run(*DBT, "run")
        assert stopped.returncode != 0
        (selected,) = re.findall("bin/dbt build --full-refresh --select (.+)", stopped.stdout + stopped.stderr)
    succeeds(built, *BUILD, "--full-refresh", "--select", *selected.split())
    succeeds(built, *BUILD)
    succeeds(built, *BUILD, prefix=FULL)
    assert differences(built) == []


def test_a_reset_waits_for_a_load_between_its_files(database: Database) -> None:
    with contextlib.closing(raw_tables.Session()) as load:
        with load.transaction("the first file") as cursor:
            raw_tables.prepare(cursor, [])
        with database.start("scripts/reset.sh", "--yes") as reset:
            said = reset.stderr.readline()
            assert said == f"waiting for a load that is running (pid {load.connection.info.backend_pid}) ...\n"
            with load.transaction("the second file") as cursor:
                cursor.execute("select count(*) from raw._batches")
                assert cursor.fetchone() == (0,)
            load.close()
            said = reset.communicate(timeout=300)
            assert reset.returncode == 0, said
    assert database.query("select count(distinct status) from raw._batches") == [(1,)]


def test_tables_that_were_built_from_another_ledger_ask_for_a_full_refresh(built: Database, data: Path) -> None:
    """As after a reset, or beside an older raw that was restored: the same numbers, and other batches."""
    built.query("drop schema raw cascade")
    for path in sorted((data / "initial" / "tickets").iterdir()):
        if path.stem not in ("accounts", "events"):
            path.unlink()
    succeeds(built, "bin/ingest", "--data-dir", data)
    partial = ("--full-refresh", "--select", "fct_orders")
    for arguments in ([], partial):
        stopped = built.run(*DBT, "run", *arguments)
        assert stopped.returncode != 0
        assert "of another ledger" in stopped.stdout + stopped.stderr
        assert "bin/dbt build --full-refresh" in stopped.stdout + stopped.stderr
    succeeds(built, *BUILD, "--full-refresh")
    deliver_the_rest(data)
    succeeds(built, "bin/ingest", "--data-dir", data)
    succeeds(built, *BUILD)
    succeeds(built, *BUILD, prefix=FULL)
    assert differences(built) == []


def test_the_log_of_builds_is_there_while_a_build_goes_on(built: Database) -> None:
    """The API names the build in each answer. dbt drops what stands on a view when it replaces the view."""
    names = "select table_schema, table_name from information_schema.tables where table_schema ~ '^(inter|marts|stag)'"
    before = built.query(f"{names} order by 1, 2")
    succeeds(built, *DBT, "run", "--select", "staging")
    assert len(built.query("select * from marts.build_log")) == 2
    succeeds(built, *DBT, "run", "--select", "config.materialized:view", "config.materialized:ephemeral")
    assert built.query(f"{names} order by 1, 2") == before


def test_each_build_is_written_down(built: Database) -> None:
    log = "select command, selection, is_full_refresh, status, error_count > 0 from marts.build_log order by started_at"
    assert built.query(log) == [("build", None, False, "passed", False)]
    succeeds(built, *DBT, "run", "--full-refresh", "--select", "dim_event", "dim_page_type")
    built.query("alter table raw.tickets__events rename column slug to renamed")  # so that staging can't be built
    assert built.run(*DBT, "build", "--select", "stg_tickets__events").returncode == 1
    built.query("alter table raw.tickets__events rename column renamed to slug")
    succeeds(built, "bin/dbt", "--quiet", "test", "--select", "stg_tickets__events")  # no build: nothing is written
    assert built.query(log)[1:] == [
        ("run", "dim_event dim_page_type", True, "passed", False),
        ("build", "stg_tickets__events", False, "failed", True),
    ]
    counts = "select models_built_count, tests_passed_count from marts.build_log order by started_at limit 1"
    ((models, tests),) = built.query(counts)
    sources = [path.read_text() for path in (ROOT / "dbt" / "models").rglob("*.sql")]
    assert models == sum("materialized='ephemeral'" not in source for source in sources)
    assert tests == 0
