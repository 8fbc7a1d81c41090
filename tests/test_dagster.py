"""Dagster: its runs give the same as make, bad batches stop them, and killed or overlapping runs do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import DBT, MODELS_ONLY, ROOT, Database, fetch, free_port, wait_until
from copies import apart, differences

pytestmark = [
    pytest.mark.orchestration,
    pytest.mark.feeds("courses", "market", "shop", "tickets"),
    pytest.mark.filterwarnings("ignore:sqlglotrs is deprecated"),
]

LEDGER = "select feed, entity, path, sha256, rows_read, rows_loaded, rows_rejected, first_row_id from raw._batches"


@dataclass(frozen=True)
class Warehouse:
    """A database, the data folder that goes to it, and the home in which Dagster remembers its runs."""

    database: Database
    data: Path
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which bin/dagster finds all three."""
        places = {"GRANARY_DATA": str(self.data), "DAGSTER_HOME": str(self.home)}
        return places | {"DBT_EXCLUDE_RESOURCE_TYPES": "unit_test"}  # those are about code, not about runs

    def run(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """Run Dagster without its pages."""
        return self.database.run("bin/dagster", "run", *arguments, env=self.environment | (env or {}), timeout=600)

    def start(
        self, *arguments: str, env: dict[str, str] | None = None, **options: Any
    ) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Start Dagster in a session of its own."""
        options = {"stderr": subprocess.STDOUT, "start_new_session": True} | options
        return self.database.start("bin/dagster", *arguments, env=self.environment | (env or {}), **options)

    def deliver(self, name: str, *lines: str) -> Path:
        """Put a CSV file into the data folder."""
        path = self.data / "incremental" / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    def differs_from_plain_build(self) -> list[tuple[str, tuple]]:
        """Build a second copy with bin/dbt, and return the rows of intermediate and marts that are in one copy only."""
        env = apart(self.database.environment["DBT_TARGET_PATH"])
        done = self.database.run(*DBT, "build", *MODELS_ONLY, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return differences(self.database)


@pytest.fixture(scope="module")
def runs(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> tuple[Warehouse, list[str]]:
    """A warehouse with the sample data, where one run was killed and two ran at once; with the output of those two."""
    directory = tmp_path_factory.mktemp("dagster")
    for part in ("initial", "incremental"):
        shutil.copytree(ROOT / "data" / part, directory / "data" / part)
    warehouse = Warehouse(new_database(), directory / "data", directory / "home")
    models_only = {"DBT_EXCLUDE_RESOURCE_TYPES": "test unit_test"}
    with warehouse.start("run", env=models_only) as killed:
        wait_until(lambda: has_table(warehouse, "marts.dim_event"), killed)
        for process in [*psutil.Process(killed.pid).children(recursive=True), killed]:
            process.kill()
        killed.communicate(timeout=60)
    assert not has_table(warehouse, "marts.money_reconciliation"), "it was killed too late"
    with warehouse.start("run") as one, warehouse.start("run", env=models_only) as other:
        outputs = [run.communicate(timeout=600)[0] for run in (one, other)]
    assert [run.returncode for run in (one, other)] == [0, 0], outputs
    return warehouse, outputs


@pytest.fixture(scope="module")
def ran(runs: tuple[Warehouse, list[str]]) -> Warehouse:
    """A warehouse that Dagster has loaded and built."""
    return runs[0]


@pytest.fixture
def instance(ran: Warehouse) -> Iterator[Any]:
    """What Dagster remembers of the runs."""
    import dagster

    with dagster.DagsterInstance.from_config(str(ran.home)) as instance:
        yield instance


# -- Runs without pages ------------------------------------------------------------------------------------------------


def test_a_killed_run_is_continued_by_the_next_and_two_at_once_take_turns(runs: tuple[Warehouse, list[str]]) -> None:
    warehouse, outputs = runs
    assert any("waiting for a load or build" in output for output in outputs)
    assert any("was killed; this run continues from there" in output for output in outputs)
    for output in outputs:
        assert re.search(
            r"^dagster run warehouse: \d+ assets, \d+ checks, of which \d+ did not pass: passed", output, re.M
        )
        assert not re.search("^failed ", output, re.M)  # the sample makes tests warn
    assert warehouse.database.query("select count(*), count(distinct path) from raw._batches") == [(76, 76)]


def test_a_run_gives_what_the_plain_commands_give(ran: Warehouse, new_database: Callable[[], Database]) -> None:
    plain = new_database()
    assert plain.run("bin/ingest", "--data-dir", ran.data).returncode == 0
    tables = plain.query("select table_name from information_schema.tables where table_schema = 'raw' order by 1")
    for (table,) in tables:
        if not table.startswith("_"):
            rows = f'select * from raw."{table}" order by _row_id'
            # The order of the feeds differs, and so do the numbers; the rows of a file stand in their order in both.
            files = "select path, first_row_id from raw._batches"
            assert rows_of(ran.database, rows, files) == rows_of(plain, rows, files), table
    assert ran.differs_from_plain_build() == []
    assert ran.database.query("select count(*) > 0 from marts.fct_weekly_sales") == [(True,)]


def rows_of(database: Database, rows: str, files: str) -> list[tuple]:
    """Rows of a raw table without the numbers that the order of loading gives, each with its path and line."""
    found = []
    starts = sorted((first, path) for path, first in database.query(files))
    for _, row_id, *values in database.query(rows):
        first, path = max(start for start in starts if start[0] <= row_id)
        found.append((path, row_id - first, *values))
    return sorted(found, key=repr)


def test_a_load_says_what_it_brought(ran: Warehouse, instance: Any) -> None:
    import dagster

    loads = instance.fetch_materializations(dagster.AssetKey(["tickets", "orders"]), limit=1, ascending=True)
    (event,) = loads.records
    metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    sums = "select count(*), sum(rows_loaded), sum(bytes), sum(rows_rejected) from raw._batches"
    sums += " where feed = 'tickets' and entity = 'orders'"
    expected = ran.database.query(sums)[0]
    assert (*[metadata[name] for name in ("new_files", "new_rows", "new_bytes", "rejected_lines")],) == expected
    assert metadata["dagster/row_count"] == expected[1]
    assert metadata["preview"].splitlines()[0].startswith("| _batch_id | _row_id | order_id |")
    assert len(metadata["preview"].splitlines()) == 7


def test_a_mart_shows_its_rows(ran: Warehouse, instance: Any) -> None:
    import dagster

    event = instance.get_latest_materialization_event(dagster.AssetKey(["marts", "fct_weekly_sales"]))
    metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert (metadata["dagster/row_count"],) == ran.database.query("select count(*) from marts.fct_weekly_sales")[0]
    assert metadata["preview"].startswith("| sales_week | event_id |")


BAD = {
    "row_count": (
        "shop/products/batch_004.csv",
        ["product_id,name,category,unit_price,unit_cost", *[f"p_9{n:03},Thing,toys,5.00,2.00" for n in range(200)]],
        "shop/products/batch_004: 200 rows, against a median of 7 before",
    ),
    "schema_drift": (
        "tickets/accounts/batch_004.csv",
        ["account_id,email", "a_900,ann@example.org"],
        "tickets/accounts/batch_004.csv, line 1: no column created_at",
    ),
    "rejected_share": (
        "courses/users/batch_004.csv",
        [
            "id,fullName,email,signupDate,state,isGovEmployee,updatedAt,deleted",
            *[
                f"{'N/A' if n % 2 else f'u_9{n:03}'},Ann,ann@example.org,2026-02-01,CA,no,2026-02-09,no"
                for n in range(20)
            ],
            *["u_1,too few fields"] * 5,
        ],
        "courses/users/batch_004: 15 of 25 rows are rejected",
    ),
}


def test_bad_batches_stop_the_run_before_anything_is_loaded_or_built(ran: Warehouse) -> None:
    before = state(ran.database)
    paths = [ran.deliver(name, *lines) for name, lines, _ in BAD.values()]
    new_column = ran.deliver("market/coin_markets_snapshot/batch_004.csv", *with_a_new_column(ran.data))
    try:
        done = ran.run()
    finally:
        for path in [*paths, new_column]:
            path.unlink()
    assert done.returncode == 1
    for check, (name, _, said) in BAD.items():
        asset = "/".join(name.split("/")[:2])
        assert re.search(rf"^failed   {asset}, {check}: .*{re.escape(said)}", done.stdout, re.M), done.stdout
    assert "warned   market/coin_markets_snapshot, schema_drift" in done.stdout
    assert re.findall(r"^(passed|failed|not run) +(\w+)$", done.stdout, re.M) == [
        ("failed", "load_courses"), ("passed", "load_kulisse"), ("passed", "load_market"), ("failed", "load_shop"),
        ("failed", "load_tickets"),
        ("not run", "build"),
    ]  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr
    # A new column is worth a warning only, so the batch with it is there; it waits for the next build.
    assert ran.database.query(
        "delete from raw.market__coin_markets_snapshot where shoe_size is not null returning true"
    )
    ran.database.query("delete from raw._batches where path like '%coin_markets_snapshot/batch_004.csv'")
    assert state(ran.database) == before


def with_a_new_column(data: Path) -> list[str]:
    """A batch of snapshots that has one column more than those before it."""
    header, *rows = (data / "incremental/market/coin_markets_snapshot/batch_002.csv").read_text().splitlines()
    return [f"{header},shoe_size", *[f"{row},40" for row in rows]]


def state(database: Database) -> list[list[tuple]]:
    """What a run changes: the ledger, the builds, and the sums of a mart."""
    weekly = "select count(*), sum(gross_sales_usd) from marts.fct_weekly_sales"
    return [database.query(query) for query in (f"{LEDGER} order by 3", "select count(*) from raw._builds", weekly)]


def test_a_fetched_feed_is_loaded_and_built_and_failing_tests_turn_the_run_red(ran: Warehouse) -> None:
    from feeds.market.coingecko import CoinGecko  # of a feed that may have been taken out

    price = "select * from marts.fct_asset_prices_daily order by asset_id, price_date limit 1"
    ran.database.query(f"create table public.lost as {price}")
    ran.database.query("delete from marts.fct_asset_prices_daily as prices using public.lost where prices.* = lost.*")
    # The test that this breaks isn't a check, because its model is ephemeral and so not an asset.
    moved = "update intermediate.int_shop__products set _batch_id = %s where _row_id = %s"
    product = "select _batch_id, _row_id from intermediate.int_shop__products order by _row_id limit 1"
    ((batch, row),) = ran.database.query(product)
    ((other,),) = ran.database.query("select max(_batch_id) from intermediate.int_shop__customers")
    ran.database.query(moved, [other, row])
    prices = "select count(*) from marts.fct_asset_prices_daily where asset_id like 'new-coin-%'"
    try:
        with CoinGecko([f"new-coin-{number}" for number in range(60)]) as api:
            settings = {"COINGECKO_BASE_URL": api.url, "COINGECKO_CALLS_PER_MINUTE": "60000"}
            done = ran.run("market", env=settings)
    finally:
        ran.database.query("insert into marts.fct_asset_prices_daily table public.lost; drop table public.lost")
        ran.database.query(moved, [batch, row])
    assert ran.database.query(prices) == [(60 * 30,)], done.stdout + done.stderr
    assert done.returncode == 1
    assert re.search(r"^failed   \S+, daily_closes_are_conserved: 1$", done.stdout, re.M), done.stdout[-3000:]
    assert "FAIL 1 unique_int_quality__current_rows__batch_id" in done.stdout
    assert re.search(r"^failed   build$", done.stdout, re.M)
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unknown_job_is_refused_with_those_there_are(ran: Warehouse) -> None:
    done = ran.run("tickets")
    assert done.returncode == 1
    assert done.stderr == "error: there is no job 'tickets'; choose one of: warehouse, market\n"


# -- Runs that are killed, or meet -------------------------------------------------------------------------------------


def test_ctrl_c_ends_a_run_and_all_that_it_has_started(ran: Warehouse) -> None:
    with ran.start("run") as run:
        assert any("START" in line for line in run.stdout), "dbt never began"
        processes = psutil.Process(run.pid).children(recursive=True)
        os.killpg(run.pid, signal.SIGINT)
        output = run.communicate(timeout=120)[0]
    assert run.returncode == 130
    assert re.search(r"^failed   build$\s+^interrupted$", output, re.M), output
    assert "Traceback" not in output
    assert psutil.wait_procs(processes, timeout=60)[1] == []


def has_table(warehouse: Warehouse, name: str) -> bool:
    return warehouse.database.query("select to_regclass(%s) is not null", [name]) == [(True,)]


# -- The definitions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def definitions(ran: Warehouse, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What Dagster loads, on the warehouse that was built."""
    for name, value in (ran.database.environment | ran.environment).items():
        monkeypatch.setenv(name, value)
    from granary_dagster.definitions import defs

    return defs.get_repository_def()


def test_every_table_is_an_asset_and_every_data_test_is_a_check(definitions: Any, ran: Warehouse) -> None:
    manifest = json.loads((Path(ran.database.environment["DBT_TARGET_PATH"]) / "manifest.json").read_text())
    nodes = list(manifest["nodes"].values())
    models = {
        "/".join(filter(None, [node["config"]["schema"], node["name"]]))  # seeds have no schema of their own
        for node in nodes
        if node["resource_type"] in ("model", "seed") and node["config"]["materialized"] != "ephemeral"
    }
    tables = {f"{s['source_name']}/{s['name']}" for s in manifest["sources"].values() if s["loader"] == "bin/ingest"}
    graph = definitions.asset_graph
    assets = {key.to_user_string() for key in graph.materializable_asset_keys}
    assert assets == models | tables | {"extract/market"}
    # The tests of ephemeral models have no asset to belong to: dbt runs them, and the run fails with them.
    ephemeral = {node["unique_id"] for node in nodes if node["config"]["materialized"] == "ephemeral"}
    attached = [
        node for node in nodes if node["resource_type"] == "test" and node.get("attached_node") not in ephemeral
    ]
    tests = {node["name"] for node in attached}
    assert {key.name for key in graph.asset_check_keys} == tests | {"row_count", "schema_drift", "rejected_share"}


def test_each_staging_view_depends_on_the_table_that_it_reads(definitions: Any) -> None:
    import dagster

    graph = definitions.asset_graph
    parents = graph.get(dagster.AssetKey(["staging", "stg_tickets__orders"])).parent_keys
    assert dagster.AssetKey(["tickets", "orders"]) in parents
    rejected = graph.get(dagster.AssetKey(["staging", "stg_ledger__rejected_values"])).parent_keys
    assert {dagster.AssetKey(["tickets", "orders"]), dagster.AssetKey(["market", "coin_price_history"])} <= rejected
    # Each load writes to the ledger, which dbt's lineage doesn't show.
    batches = graph.get(dagster.AssetKey(["staging", "stg_ledger__batches"])).parent_keys
    assert batches == {key for key in graph.materializable_asset_keys if graph.get(key).group_name == "raw"}


def test_without_a_feed_the_definitions_load_and_the_whole_warehouse_is_the_only_job(ran: Warehouse) -> None:
    script = (
        "from granary import declared, extract\n"
        "declared.declarations, extract.extractors = lambda models=None: ({}, {}), lambda: []\n"
        "from granary_dagster.definitions import defs\n"
        "graph = defs.get_repository_def().asset_graph\n"
        "print([job.name for job in defs.jobs], {graph.get(key).group_name for key in graph.materializable_asset_keys}"
        " & {'extract', 'raw'})"
    )
    done = ran.database.run(sys.executable, "-c", script, env=ran.environment)
    assert done.stdout == "['warehouse'] set()\n", done.stderr


def test_the_sensor_asks_for_what_new_files_change_and_for_nothing_else(definitions: Any, ran: Warehouse) -> None:
    import dagster

    from granary_dagster.triggers import new_files

    def ask() -> Any:
        return new_files(dagster.build_sensor_context(repository_def=definitions))

    assert ask().skip_message == "no new files"
    path = ran.deliver("shop/customers/batch_009.csv", "customer_id,name,email,country,signup_date", "c_900,Ann,,DE,")
    try:
        assert ask().skip_message == "a file may still be being written"
        an_hour_ago = time.time() - 3600
        os.utime(path, (an_hour_ago, an_hour_ago))
        request = ask()
        again = ask()
        os.utime(path, (an_hour_ago, an_hour_ago + 60))
        corrected = ask()
    finally:
        path.unlink()
    assert again.run_key == request.run_key != corrected.run_key
    asked_for = {key.to_user_string() for key in request.asset_selection}
    assert {"shop/customers", "staging/stg_shop__customers", "marts/customer_lifetime_value"} <= asked_for
    assert "marts/rejected_rows" in asked_for
    assert not {key for key in asked_for if key.startswith(("shop/orders", "tickets/")) or "stg_tickets" in key}


# -- The pages ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pages:
    """Dagster's pages, the process that serves them, and what it says."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def ask(self, query: str) -> dict[str, Any]:
        """Return what they answer to a query in GraphQL."""
        address, headers = f"http://127.0.0.1:{self.port}/graphql", {"Content-Type": "application/json"}
        request = urllib.request.Request(address, json.dumps({"query": query}).encode(), headers)
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["data"]


@pytest.fixture(scope="module")
def pages(ran: Warehouse) -> Iterator[Pages]:
    """The pages of the warehouse that Dagster has built."""
    port, log = free_port(), ran.home / "pages.log"
    with log.open("w") as stream, ran.start("ui", "--port", str(port), stdout=stream) as process:
        fetch(f"http://127.0.0.1:{port}/server_info", process)
        yield Pages(process, port, log)


def test_the_pages_know_what_there_is(pages: Pages) -> None:
    triggers = "repositoriesOrError { ... on RepositoryConnection { nodes { schedules { name } sensors { name } } } }"
    data = pages.ask(f"{{ assetNodes {{ id }} {triggers} }}")
    assert len(data["assetNodes"]) >= 99
    (code,) = data["repositoriesOrError"]["nodes"]
    assert {schedule["name"] for schedule in code["schedules"]} == {"daily", "market_six_hourly"}
    assert [sensor["name"] for sensor in code["sensors"]] == ["new_files"]


def test_the_sensor_starts_a_run_of_what_new_files_change(ran: Warehouse, pages: Pages) -> None:
    selector = '{repositoryLocationName: "granary_dagster.definitions", repositoryName: "__repository__"'
    selector += ', sensorName: "new_files"}'
    started = pages.ask(f"mutation {{ startSensor(sensorSelector: {selector}) {{ __typename }} }}")
    assert started == {"startSensor": {"__typename": "Sensor"}}
    rows = [f"c_9{number:02},Ann,ann-{number}@example.org,DE,2026-02-01" for number in range(9)]
    path = ran.deliver("shop/customers/batch_009.csv", "customer_id,name,email,country,signup_date", *rows)
    an_hour_ago = time.time() - 3600
    os.utime(path, (an_hour_ago, an_hour_ago))

    def runs() -> list[dict[str, Any]]:
        query = "{ runsOrError { ... on Runs { results { status tags { key value } assetSelection { path } } } } }"
        found = pages.ask(query)["runsOrError"]["results"]
        return [run for run in found if {"key": "dagster/sensor_name", "value": "new_files"} in run["tags"]]

    wait_until(lambda: [run for run in runs() if run["status"] in ("SUCCESS", "FAILURE")], pages.process)
    (run,) = runs()
    assert run["status"] == "SUCCESS"
    assert ["tickets", "orders"] not in [asset["path"] for asset in run["assetSelection"]]
    assert ran.database.query(
        "select customer_name from marts.customer_lifetime_value where customer_id = 'c_900'"
    ) == [("Ann",)]


def test_the_pages_are_for_this_machine_only_and_end_with_all_their_processes(pages: Pages) -> None:
    processes = [psutil.Process(pages.process.pid), *psutil.Process(pages.process.pid).children(recursive=True)]
    listening = [c.laddr.ip for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN]
    assert set(listening) == {"127.0.0.1"}
    os.killpg(pages.process.pid, signal.SIGINT)  # as Ctrl-C does
    assert pages.process.wait(timeout=120) == 0, pages.log.read_text()
    assert psutil.wait_procs(processes, timeout=60)[1] == []
    assert "Traceback" not in pages.log.read_text()


def test_a_port_that_is_taken_is_named(ran: Warehouse) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ("bin/dagster", "ui", "--port", str(taken.getsockname()[1]))
        done = ran.database.run(*arguments, env=ran.environment)
    assert done.returncode == 1
    assert done.stderr.startswith("error: can't serve at 127.0.0.1, port ")


def test_an_unreachable_server_is_named(ran: Warehouse) -> None:
    done = ran.database.run("bin/dagster", "run", env=ran.environment | {"PGHOST": "127.0.0.1", "PGPORT": "1"})
    assert done.returncode == 1
    assert "no PostgreSQL server can be reached at PGHOST=127.0.0.1" in done.stderr
    assert "Traceback" not in done.stderr
