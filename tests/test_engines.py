"""The same models on another engine: every mart is equal, row by row, after full and after incremental builds."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from conftest import DBT, MODELS_ONLY, ROOT, Database, needs_sample, new_build

pytestmark = [needs_sample, pytest.mark.long]


@dataclass
class Pair:
    """PostgreSQL and DuckDB, with the lake between them."""

    database: Database
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return what leads to the lake and to DuckDB's file."""
        return {"GRANARY_LAKE": str(self.directory / "the lake"), "GRANARY_DUCKDB": str(self.directory / "a.duckdb")}

    @property
    def on_duckdb(self) -> dict[str, str]:
        """Return the environment in which commands use DuckDB."""
        return self.environment | {"GRANARY_ENGINE": "duckdb", "DBT_TARGET_PATH": str(self.directory / "target")}

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command on this pair."""
        return self.database.run(*command, env=self.environment | variables)

    def succeed(self, *command: str, **variables: str) -> str:
        """Run a command that has to succeed, and return what it prints."""
        done = self.run(*command, **variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deliver(self, data: Path) -> None:
        """Load what is in a data folder, and build it with both engines."""
        self.succeed("bin/ingest", "--data-dir", str(data))
        self.succeed(*DBT, "build", *MODELS_ONLY)
        self.succeed("bin/lake")
        self.succeed(*DBT, "build", *MODELS_ONLY, **self.on_duckdb)


@pytest.fixture(scope="module")
def pair(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """The initial sample data, built on PostgreSQL, and built and tested on DuckDB."""
    made = Pair(new_build(new_database, "--initial"), tmp_path_factory.mktemp("engines"))
    made.succeed("bin/lake")
    made.succeed(*DBT, "build", **made.on_duckdb)
    return made


def test_marts_are_equal_after_a_full_build(pair: Pair) -> None:
    said = pair.succeed("bin/diff", "duckdb")
    assert said.endswith("41 of 41 marts equal in postgres and duckdb\n"), said


def test_a_query_runs_on_the_engine_in_use(pair: Pair) -> None:
    query = ("bin/warehouse", "sql", "select min(event_name) from marts.dim_event")
    name = pair.database.query(query[2])[0][0]
    assert name in pair.succeed(*query, **pair.on_duckdb)
    assert name in pair.succeed(*query)
    failed = pair.run("bin/warehouse", "sql", "drop table marts.dim_event", **pair.on_duckdb)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: ")


def test_marts_are_equal_after_incremental_builds(pair: Pair, tmp_path: Path) -> None:
    """A batch replaced, a line of the shop moved, a merge undone: see what the sample's incremental files are about."""
    data = shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    pair.deliver(data)
    said = pair.succeed("bin/diff", "duckdb")
    assert said.endswith("41 of 41 marts equal in postgres and duckdb\n"), said
    with duckdb.connect(pair.environment["GRANARY_DUCKDB"]) as connection:
        ((builds, full),) = connection.sql("select count(*), sum(is_full_refresh::int) from raw._builds").fetchall()
    assert (builds, full) == (2, 0)


def test_what_differs_is_named_by_its_key(pair: Pair) -> None:
    with duckdb.connect(pair.environment["GRANARY_DUCKDB"]) as connection:
        connection.execute("create table kept as select * from marts.fct_weekly_sales")
        changes = {
            "update marts.fct_weekly_sales set gross_sales_usd = gross_sales_usd + 0.01 where event_id = 'e_05'"
            " and sales_week = '2026-01-12'": "  sales_week=2026-01-12, event_id=e_05: gross_sales_usd ",
            "update marts.fct_orders set ordered_at = ordered_at - interval '5 hours'": ": ordered_at ",
            "delete from marts.dim_event where event_id = 'e_01'": "  event_id=e_01: only in postgres\n",
            "insert into marts.dim_page_type select 'x' as page_type, * exclude (page_type) from marts.dim_page_type"
            " limit 1": "  page_type=x: only in duckdb\n",
            "alter table marts.market_summary alter asset_count type integer": (
                "market_summary.asset_count: bigint in postgres, integer in duckdb\n"
            ),
        }
        for change in changes:
            connection.execute(change)
    done = pair.run("bin/diff", "duckdb")
    assert done.returncode == 1
    for said in changes.values():
        assert said in done.stdout, done.stdout
    assert done.stdout.endswith("36 of 41 marts equal in postgres and duckdb\n")


def test_a_build_waits_until_nobody_else_uses_the_file(pair: Pair) -> None:
    with duckdb.connect(pair.environment["GRANARY_DUCKDB"]) as connection:
        connection.execute("select 1")
        build = (*DBT, "run", "--select", "dim_event")
        with pair.database.start(*build, env=pair.on_duckdb) as waiting:
            assert re.match(r"waiting for .* \(PID \d+\), which uses .*a\.duckdb \.\.\.\n", waiting.stderr.readline())
            connection.close()
            assert waiting.wait(timeout=120) == 0


def test_ways_out(pair: Pair, database: Database, tmp_path: Path) -> None:
    empty = {"GRANARY_LAKE": str(tmp_path / "none"), "GRANARY_DUCKDB": str(tmp_path / "none.duckdb")}
    done = pair.run(*DBT, "build", **pair.on_duckdb | empty)
    assert done.returncode == 2
    assert "load and export what was delivered first: bin/ingest && bin/lake" in done.stdout + done.stderr
    done = pair.run("bin/diff", "duckdb", GRANARY_DUCKDB=str(tmp_path / "other.duckdb"))
    assert (done.returncode, done.stdout) == (2, "")
    assert "doesn't exist: build it with bin/lake && bin/dbt --target duckdb build" in done.stderr
    for program in ("dagster", "airflow"):
        done = pair.run(f"bin/{program}", "run", GRANARY_ENGINE="duckdb")
        assert (done.returncode, done.stdout) == (1, "")
        said = f"error: {program.title()} builds on PostgreSQL only, and GRANARY_ENGINE is duckdb: unset it"
        assert done.stderr == f"{said} (docs/engines.md)\n"
    for command in (("bin/dbt", "build"), ("bin/update",), ("make", "-C", str(ROOT), "summary")):
        done = pair.run(*command, GRANARY_ENGINE="oracle")
        assert done.returncode in (1, 2)
        assert "error: unknown engine 'oracle': choose one of postgres, duckdb, spark\n" in done.stderr


def test_after_a_reset_nothing_of_the_former_ledger_is_left(pair: Pair) -> None:
    """The numbers of batches and rows mean other files then: what DuckDB knows of the former ones is not about them."""
    pair.succeed(str(ROOT / ".venv/bin/python"), "-m", "granary.reset")
    pair.succeed("bin/ingest", "--initial", "tickets", "courses")
    pair.succeed("bin/ingest", "--initial")
    pair.succeed(*DBT, "build", *MODELS_ONLY)
    pair.succeed("bin/lake")
    refused = pair.run(*DBT, "build", *MODELS_ONLY, **pair.on_duckdb)
    assert refused.returncode != 0
    assert "Rebuild all tables once: bin/dbt build --full-refresh --target duckdb\n" in refused.stdout + refused.stderr
    pair.succeed(*DBT, "build", *MODELS_ONLY, "--full-refresh", **pair.on_duckdb)
    said = pair.succeed("bin/diff", "duckdb")
    assert said.endswith("41 of 41 marts equal in postgres and duckdb\n"), said
