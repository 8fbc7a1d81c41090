"""The models of a feed on Spark, and a job beside them: marts are equal after full and incremental builds."""

from __future__ import annotations

import contextlib
import csv
import datetime
import json
import os
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import test_spelling
from conftest import DBT, ROOT, Database, needs_sample, new_build
from granary import engines
from test_engines import Pair
from test_parsing import AROUND, TABLE, TYPES, postgres_reader, typed

pytestmark = [needs_sample, pytest.mark.long, pytest.mark.engines]

MODELS_ONLY = ("--exclude-resource-type", "test", "unit_test")
WITH_TESTS = ("--exclude-resource-type", "unit_test")  # their fixtures are SQL of PostgreSQL


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

    def build(self, *options: str, feed: str = "tickets") -> str:
        """Export what is new, and build a feed on Spark."""
        self.succeed("bin/lake")
        return self.succeed("bin/dbt", "build", "--select", f"group:{feed}", "tag:ledger", *options, **self.on_spark)

    def equal(self, feed: str = "tickets") -> int:
        """Return how many marts of a feed there are, all of them equal to PostgreSQL's."""
        names = [path.stem for path in (ROOT / "dbt/models/marts" / feed).glob("*.sql")]
        said = self.succeed("bin/diff", "spark", *names, "rejected_rows")
        assert f"{len(names) + 1} of {len(names) + 1} marts equal in postgres and spark\n" in said, said
        return len(names)


@pytest.fixture(scope="module")
def spark(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> WithSpark:
    """The initial sample data, built on both."""
    made = WithSpark(new_build(new_database, "--initial"), tmp_path_factory.mktemp("spark"))
    made.build(*MODELS_ONLY)
    return made


def test_a_small_feed_is_equal_and_passes_its_tests(new_database: Callable[[], Database], tmp_path: Path) -> None:
    """The proof that runs for every change, in a few minutes: see .ci/run."""
    both = WithSpark(new_database(), tmp_path)
    both.succeed("bin/ingest", "market")
    both.succeed(*DBT, "build", "--select", "group:market", "tag:ledger", *MODELS_ONLY)
    said = both.build(*WITH_TESTS, feed="market")
    assert " ERROR=0 " in said, said
    assert both.equal("market") > 4


def test_a_job_reads_the_warehouse_and_gives_the_rows_of_the_mart(spark: WithSpark, tmp_path: Path) -> None:
    folder = tmp_path / "weekly sales"
    job = ("bin/spark-submit", "jobs/tickets/example_job.py", str(folder), "--format", "csv")
    assert f"weeks of events written to {folder}\n" in spark.succeed(*job)
    (file,) = folder.glob("*.csv")
    header, *rows = csv.reader(file.read_text().splitlines())
    columns = ", ".join(f"{name}::text" for name in header)
    expected = spark.database.query(f"select {columns} from marts.fct_weekly_sales order by 1, 2")
    assert sorted(map(tuple, rows)) == sorted(expected)
    for arguments, said in [
        (job[1:], f"error: {folder} exists: choose another folder, or replace it with --force\n"),
        (("jobs/none.py",), "error: there is no job jobs/none.py: name a file of Python, or a jar\n"),
        ((*job[1:], "--parts", "0"), "--parts: at least 1\n"),
    ]:
        done = spark.run("bin/spark-submit", *arguments)
        assert done.returncode != 0
        printed = done.stdout + done.stderr  # Spark redirects what a job writes
        assert said in printed
        assert "Traceback" not in printed


def test_marts_are_equal_after_full_and_incremental_builds(spark: WithSpark, tmp_path: Path) -> None:
    assert spark.equal() > 8
    data = shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw"))
    spark.succeed("bin/ingest", "--data-dir", str(data))
    spark.succeed(*DBT, "build", "--exclude-resource-type", "test", "unit_test")
    said = spark.build(*MODELS_ONLY)
    assert "full refresh" not in said
    spark.equal()


def test_what_spark_needs_is_named(spark: WithSpark) -> None:
    done = spark.run("bin/warehouse", "sql", "select 1", **spark.on_spark)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: this command can't query Spark's tables: a job can (bin/spark-submit)\n"
    without_java = {"PATH": f"{ROOT / '.venv' / 'bin'}:/nowhere", "JAVA_HOME": ""}
    done = spark.run(str(ROOT / ".venv/bin/python"), "-m", "granary.dbt", "build", **(spark.on_spark | without_java))
    assert done.returncode == 1
    assert done.stderr == "error: Spark needs Java 17 or 21, and there is no `java`: install it, or set JAVA_HOME\n"


def as_text(value: Any) -> Any:
    """Return a value as Spark spells it; numbers and times are compared by value."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if value is None or isinstance(value, Decimal | datetime.date) else str(value)


def spelled(parse: str, text: str | None) -> Any:
    """Return a value that Spark has spelled."""
    if text is None or parse in ("boolean", "integer"):
        return text
    return typed(parse, text)


def run_on_spark(queries: list[dict[str, Any]], directory: Path) -> list[list[list[str | None]]]:
    """Return the rows of each query, see read_with_spark.py."""
    file = directory / "queries.json"
    file.write_text(json.dumps(queries))
    command = [engines.VENV_OF_SPARK / "bin" / "python", Path(__file__).with_name("read_with_spark.py"), file]
    environment = os.environ | {"GRANARY_SPARK": str(directory / "its tables")} | engines.spark_settings()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_values_are_read_as_on_the_other_engines(database: Database, tmp_path: Path) -> None:
    """The table of values, what is around them, and in texts, labels and addresses all characters that Python knows."""
    calls = ", ".join(f"{{{{ parse_{name}('cleaned') }}}} as {name}_read" for name in TYPES)
    cleaned = "(select place, {{ clean_text('delivered') }} as cleaned from texts) as texts"
    query = ("--inline", f"select place, {calls} from {cleaned}")
    compiled = database.run("bin/dbt", "--quiet", "compile", "--target", "spark", *query)
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr
    characters = [chr(point) for point in range(1, 0x20000) if unicodedata.category(chr(point)) not in ("Cn", "Cs")]
    texts = {parse: [*values] for parse, values in TABLE.items()}
    for parse, form in (("label", "{0}{0} {0}1"), ("email", "a{}b@c.de"), ("text", "{}")):
        texts[parse] += [form.format(character) for character in characters]
    texts["text"] += [f"{one}a{one}b{one}" for one in AROUND]

    queries = [
        {
            "query": f"select place, cast({parse}_read as string) as value from ({compiled.stdout})",
            "columns": ["delivered"],
            "rows": [[text] for text in delivered],
        }
        for parse, delivered in texts.items()
    ]
    read = {
        parse: [value for (value,) in rows] for parse, rows in zip(texts, run_on_spark(queries, tmp_path), strict=True)
    }

    for parse, values in TABLE.items():
        expected = {text: None if value is None else as_text(typed(parse, value)) for text, value in values.items()}
        found = {text: spelled(parse, value) for text, value in zip(texts[parse], read[parse], strict=True)}
        assert {text: found[text] for text in values} == expected, parse
    with contextlib.contextmanager(postgres_reader)(database) as read_with_postgres:
        for parse in ("label", "email", "text"):
            values = read_with_postgres(parse, texts[parse])
            different = [one for one in zip(texts[parse], values, read[parse], strict=True) if one[1] != one[2]]
            assert different == [], parse


def test_declared_spellings_are_read_as_on_the_other_engines(database: Database, tmp_path: Path) -> None:
    """Times in all zones, too."""
    compiled = test_spelling.compiled(database, "spark")
    texts = {
        name: [text if isinstance(text, tuple) else (text, None) for text in table]
        for name, table in test_spelling.TABLE.items()
    }
    expected = {
        name: [value if isinstance(value, tuple) else (value, None) for value in table.values()]
        for name, table in test_spelling.TABLE.items()
    }
    young = "America/Coyhaique"  # of 2025: Java's zones may be older than those of the other engines
    zones = [text for text in test_spelling.noon_in_all_zones() if text[1] != young]
    with contextlib.contextmanager(test_spelling.postgres_reader)(database) as read:
        expected["by_zone"] += [(value and str(value), None) for value, _ in read("by_zone", zones)]
    texts["by_zone"] += zones
    queries = [
        {
            "query": f"select place, cast(value as string) as value, currency from ({query})",
            "columns": ["value", "other"],
            "rows": texts[name],
        }
        for name, query in compiled.items()
    ]
    for name, found in zip(compiled, run_on_spark(queries, tmp_path), strict=True):
        read_as = [
            [(test_spelling.typed(name, value), currency) for value, currency in values]
            for values in (found, expected[name])
        ]
        assert read_as[0] == read_as[1], name
