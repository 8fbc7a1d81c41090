"""The models of a feed on Spark, and a job beside them: marts are equal after full and incremental builds."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import DBT, ROOT, Database, needs_sample, new_build
from test_engines import Pair

needs_spark = pytest.mark.skipif(
    not (shutil.which("java") and (ROOT / ".venv-spark" / "bin" / "python").exists()),
    reason="Spark and Java aren't installed (make test_engines installs Spark)",
)
pytestmark = [needs_sample, needs_spark, pytest.mark.long, pytest.mark.engines]

FEED = ("--select", "group:tickets", "tag:ledger", "--exclude-resource-type", "test", "unit_test")


class WithSpark(Pair):
    """PostgreSQL and Spark, with the lake between them."""

    @property
    def environment(self) -> dict[str, str]:
        """Return what leads to the lake and to Spark's folder."""
        return {"GRANARY_LAKE": str(self.directory / "the lake"), "GRANARY_SPARK": str(self.directory / "its tables")}

    @property
    def on_spark(self) -> dict[str, str]:
        """Return the environment in which commands use Spark."""
        return self.environment | {"GRANARY_ENGINE": "spark", "DBT_TARGET_PATH": str(self.directory / "target")}

    def build(self, *options: str, **variables: str) -> str:
        """Export what is new, and build the feed on Spark."""
        self.succeed("bin/lake")
        return self.succeed("bin/dbt", "build", *FEED, *options, **(self.on_spark | variables))

    def equal(self) -> int:
        """Return how many marts of the feed there are, all of them equal to PostgreSQL's."""
        names = [path.stem for path in (ROOT / "dbt/models/marts/tickets").glob("*.sql")]
        said = self.succeed("bin/diff", "--to", "spark", *names, "rejected_rows")
        assert f"{len(names) + 1} of {len(names) + 1} marts equal in postgres and spark\n" in said, said
        return len(names)


@pytest.fixture(scope="module")
def spark(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> WithSpark:
    """The initial sample data, built on both."""
    made = WithSpark(new_build(new_database, "--initial"), tmp_path_factory.mktemp("spark"))
    made.build()
    return made


def test_a_job_reads_the_warehouse_and_gives_the_rows_of_the_mart(spark: WithSpark, tmp_path: Path) -> None:
    folder = tmp_path / "weekly sales"
    job = ("bin/spark-submit", "jobs/example_job.py", str(folder), "--format", "csv")
    assert f"weeks of events written to {folder}\n" in spark.succeed(*job)
    (file,) = folder.glob("*.csv")
    header, *rows = csv.reader(file.open())
    columns = ", ".join(f"{name}::text" for name in header)
    expected = spark.database.query(f"select {columns} from marts.fct_weekly_sales order by 1, 2")
    assert sorted(map(tuple, rows)) == sorted(expected)
    for arguments, said in [
        (job[1:], f"error: {folder} exists: choose another folder, or replace it with --force\n"),
        (("jobs/none.py",), "error: jobs/none.py doesn't exist\n"),
        ((*job[1:], "--parts", "0"), "--parts: at least 1\n"),
    ]:
        done = spark.run("bin/spark-submit", *arguments)
        assert done.returncode != 0
        assert said in done.stderr
        assert "Traceback" not in done.stderr


def test_marts_are_equal_after_full_and_incremental_builds(spark: WithSpark, tmp_path: Path) -> None:
    assert spark.equal() > 8
    data = shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    spark.succeed("bin/ingest", "--data-dir", str(data))
    spark.succeed(*DBT, "build", "--exclude-resource-type", "test", "unit_test")
    said = spark.build()
    assert "full refresh" not in said
    spark.equal()


def test_what_spark_needs_is_named(spark: WithSpark) -> None:
    without_java = {"PATH": f"{ROOT / '.venv' / 'bin'}:/nowhere", "JAVA_HOME": ""}
    done = spark.run(str(ROOT / ".venv/bin/python"), "-m", "granary.dbt", "build", **(spark.on_spark | without_java))
    assert done.returncode == 1
    assert done.stderr == "error: Spark needs Java 17 or 21, and there is no `java`: install it, or set JAVA_HOME\n"
