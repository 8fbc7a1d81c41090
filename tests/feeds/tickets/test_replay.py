"""Incremental equals full refresh, on both engines, and both equal the rules, for generated histories.

`make test` replays a few dozen histories, `make soak` 1,800 (GRANARY_SOAK=1; GRANARY_SEED draws others).
"""

import os
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from psycopg2 import sql

from conftest import DBT, NO_LIMITS, Database
from copies import FULL, apart, differences
from feeds.tickets.histories import STEP_COUNT, History, draw, history_of, overrides_at, smaller, write_step
from feeds.tickets.identity_reference import canonical_customers

SOAK = bool(os.environ.get("GRANARY_SOAK"))
SEED = int(os.environ.get("GRANARY_SEED", "0"))
ROUNDS, HISTORIES = (12, 150) if SOAK else (1, 60)
TESTED_STEPS = (1, STEP_COUNT - 1)  # which data tests and DuckDB follow: each takes as long as the models
SHRINKING_ROUNDS = int(os.environ.get("GRANARY_SHRINKING_ROUNDS", "5"))  # of about a minute each
pytestmark = [pytest.mark.soak, pytest.mark.feeds("market", "shop"), pytest.mark.timeout(0 if SOAK else 2400)]
# A partial run builds these tables after only some of their inputs.
TABLES = [
    "fct_orders",
    "fct_weekly_sales",
    "fct_page_views",
    "dim_customer",
    "fct_asset_prices_daily",
    "int_market__assets",
    "fct_daily_sales",
]
INPUTS = [
    "int_tickets__order_versions",
    "int_tickets__showtime_versions",
    "int_tickets__transaction_versions",
    "int_tickets__pages",
    "int_tickets__identity_merges",
    "int_identity__latest_merges",
    "int_identity__resolved_customers",
    "int_identity__canonical_customers",
    "int_market__daily_prices",
    "int_market__snapshots",
    "int_shop__order_line_versions",
    "int_shop__sales_days",
    "fct_order_lines",
]


@pytest.mark.engines
@pytest.mark.timeout(3600)
def test_histories_end_alike_on_spark(new_warehouse: Callable) -> None:
    """All marts, after a full and an incremental build of generated histories; no merge is overridden in them."""
    warehouse, drawn = new_warehouse(), draw(10, SEED)
    places = {"GRANARY_LAKE": "lake", "GRANARY_SPARK": "tables", "DBT_TARGET_PATH": "target on spark"}
    settings = {name: str(warehouse.data / place) for name, place in places.items()}
    warehouse.dbt("seed")
    for step in range(STEP_COUNT):
        warehouse.ingest(*write_step(drawn, step, warehouse.data))
        if step not in TESTED_STEPS:
            continue
        warehouse.dbt("build", *NO_LIMITS, "--exclude-resource-type", "unit_test", "test")
        for command in (
            ("bin/lake",),
            ("bin/dbt", "--target", "spark", "build", "--exclude-resource-type", "unit_test", "test"),
        ):
            done = warehouse.database.run(*command, env=settings, timeout=1200)  # a build on Spark takes minutes
            assert done.returncode == 0, done.stdout + done.stderr
        compared = warehouse.database.run("bin/diff", "spark", env=settings, timeout=1200)
        assert compared.returncode == 0, compared.stdout + compared.stderr
    rows = warehouse.query("select count(*) from marts.fct_weekly_sales where event_id <> 'unknown'")
    assert rows[0][0] > len(drawn)


class Warehouse:
    """A fresh database, the commands that load and build it, and a second copy of its schemas."""

    def __init__(self, database: Database, data: Path):
        self.database, self.data = database, data

    def query(self, statement: str | sql.Composable) -> list[tuple]:
        return self.database.query(statement)

    def ingest(self, *names: str) -> None:
        done = self.database.run("bin/ingest", "--data-dir", self.data, *names)
        assert done.returncode == 0, done.stderr

    def dbt(self, *arguments: str, prefix: str = "") -> None:
        settings = apart(self.data / "target", prefix)
        done = self.database.run(*DBT, *arguments, env=settings)
        assert done.returncode == 0, done.stdout + done.stderr

    def build_on_duckdb(self, merges: list[tuple[str, str]]) -> None:
        """Build what was delivered so far on DuckDB, too, with merges to ignore."""
        names = {"GRANARY_LAKE": "lake", "GRANARY_DUCKDB": "a.duckdb", "DBT_TARGET_PATH": "target on duckdb"}
        settings = {name: str(self.data / place) for name, place in names.items()}
        exported = self.database.run("bin/lake", env=settings)
        assert exported.returncode == 0, exported.stderr
        for arguments in (("seed",), ("build", "--exclude-resource-type", "seed", "unit_test", "test")):
            done = self.database.run(*DBT, *arguments, "--target", "duckdb", env=settings)
            assert done.returncode == 0, done.stdout + done.stderr
            with duckdb.connect(settings["GRANARY_DUCKDB"]) as connection:
                connection.execute("delete from staging.identity_overrides")
                for merge in merges:
                    connection.execute("insert into staging.identity_overrides values (?, ?, 'test')", merge)
        self.settings = settings

    def override(self, merges: list[tuple[str, str]], prefix: str = "") -> None:
        """Puts merges to ignore where `dbt seed` would."""
        table = sql.Identifier(f"{prefix}staging", "identity_overrides")
        self.query(sql.SQL("truncate {}").format(table))
        for merge in merges:
            self.database.query(sql.SQL("insert into {} values (%s, %s, 'test')").format(table), merge)


def replay(warehouse: Warehouse, drawn: list[History], order: random.Random) -> list[tuple[str, tuple]]:
    """Delivers the histories step by step, builds after each, builds a copy in full at the end, and compares.

    In the middle of a step, some models are built without all of their inputs, as people do with --select: what such a
    run leaves half done must be made good by the next one. At the last step, it takes in page views before the merges
    that were delivered ahead of them.
    """
    warehouse.ingest()
    warehouse.dbt("seed")
    for step in range(STEP_COUNT):
        names = write_step(drawn, step, warehouse.data)
        order.shuffle(names)
        first, rest, inputs = names[:-2], names[-2:], order.sample(INPUTS, len(INPUTS) // 2)
        if step == STEP_COUNT - 1:
            warehouse.ingest(f"tickets/identity_merges/step_{step}")
            first, rest, inputs = names, [], ["int_tickets__pages", "int_identity__canonical_customers"]
        warehouse.override(overrides_at(drawn, step))
        warehouse.ingest(*first)
        if step:
            warehouse.dbt("run", "--select", *TABLES, *inputs)
        if rest:
            warehouse.ingest(*rest)
        left_out = ["seed", "unit_test", *(["test"] if step not in TESTED_STEPS else [])]
        warehouse.dbt("build", *NO_LIMITS, "--exclude-resource-type", *left_out)
        if step in TESTED_STEPS:
            warehouse.build_on_duckdb(overrides_at(drawn, step))
    warehouse.dbt("seed", prefix=FULL)
    warehouse.override(overrides_at(drawn, STEP_COUNT - 1), prefix=FULL)
    warehouse.dbt("build", *NO_LIMITS, "--exclude-resource-type", "seed", "unit_test", "test", prefix=FULL)
    return differences(warehouse.database)


def shrunk(new_warehouse: Callable[[], Warehouse], failing: History) -> History:
    """The smallest history found that still fails: all histories that are smaller by one row are replayed at once."""
    for _ in range(SHRINKING_ROUNDS):
        candidates = smaller(failing)
        found = {history_of(row) for _, row in replay(new_warehouse(), candidates, random.Random(SEED))} - {None}
        if not found:
            break
        failing = candidates[min(found)]
    return failing


@pytest.fixture
def new_warehouse(new_database: Callable[[], Database], tmp_path: Path) -> Callable[[], Warehouse]:
    def make() -> Warehouse:
        data = Path(tempfile.mkdtemp(dir=tmp_path, prefix="data "))
        (data / "incremental").mkdir()
        return Warehouse(new_database(), data)

    return make


@pytest.fixture(params=range(ROUNDS))
def replayed(request: pytest.FixtureRequest, new_warehouse: Callable) -> tuple[Warehouse, list[History], list]:
    drawn = draw(HISTORIES, SEED + request.param)
    warehouse = new_warehouse()
    return warehouse, drawn, replay(warehouse, drawn, random.Random(SEED + request.param))


def test_histories_end_as_a_full_refresh_and_the_rules_say(
    replayed: tuple[Warehouse, list[History], list], new_warehouse: Callable
) -> None:
    warehouse, drawn, different = replayed
    if different:
        number = next((number for _, row in different if (number := history_of(row)) is not None), None)
        shown = "\n".join(f"{table}: {row}" for table, row in different[:20])
        smallest = shrunk(new_warehouse, drawn[number]) if number is not None else None
        pytest.fail(
            f"incremental and full refresh differ:\n{shown}\nsmallest history found:\n{smallest}", pytrace=False
        )

    compared = warehouse.database.run("bin/diff", "duckdb", env=warehouse.settings)
    assert compared.returncode == 0, compared.stdout + compared.stderr

    traced = warehouse.database.run("bin/trace", "--check")
    assert traced.returncode == 0, traced.stdout + traced.stderr

    # Histories that never make anything happen would prove nothing.
    assert warehouse.query("select count(*) from marts.fct_weekly_sales where event_id <> 'unknown'")[0][0] > HISTORIES
    assert warehouse.query("select count(*) from marts.rejected_rows")[0][0] > HISTORIES
    superseded = "select count(*) from intermediate.int_tickets__order_versions where not is_current"
    assert warehouse.query(superseded)[0][0] > HISTORIES / 2
    volatile = "select count(*) from marts.fct_asset_prices_daily where volatility_30d_pct > 0"
    assert warehouse.query(volatile)[0][0] > HISTORIES
    stand_ins = "select count(*) from marts.fct_asset_prices_daily where not is_midnight_close"
    assert warehouse.query(stand_ins)[0][0] > HISTORIES
    assert warehouse.query("select count(*) from marts.dim_asset_history where not is_current")[0][0] > HISTORIES / 4

    outdated = """
        select count(*) from staging.stg_courses__users as delivered
        inner join intermediate.int_courses__users as users using (user_id)
        where delivered._batch_id > users._batch_id
    """
    assert warehouse.query(outdated)[0][0] > HISTORIES / 4
    assert warehouse.query("select sum(total_events) from marts.course_engagement")[0][0] > HISTORIES / 4
    superseded = "select count(*) from intermediate.int_shop__order_line_versions where not is_current"
    assert warehouse.query(superseded)[0][0] > HISTORIES / 4
    assert warehouse.query("select count(*) from marts.fct_daily_sales where net_sales_usd <> 0")[0][0] > HISTORIES
    assert warehouse.query("select count(*) from marts.fct_order_lines where line_number > 1")[0][0] > HISTORIES / 10
    overwritten = "select count(*) from intermediate.int_quality__overwritten_rows where feed = 'shop'"
    assert warehouse.query(overwritten)[0][0] > HISTORIES / 10

    merges = warehouse.query(
        "select from_customer_id, to_customer_id, merged_at from staging.stg_tickets__identity_merges"
    )
    expected = canonical_customers(merges, overrides_at(drawn, STEP_COUNT - 1))
    resolved = warehouse.query(
        "select customer_id, canonical_customer_id from intermediate.int_identity__canonical_customers"
    )
    assert {left: right for left, right in resolved if left in expected} == expected
    assert all(left == right for left, right in resolved if left not in expected)
    assert sum(left != right for left, right in expected.items()) > HISTORIES
