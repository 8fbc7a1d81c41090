"""make summary shows what the warehouse holds, and which command makes what is missing."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import ROOT, Database, needs_sample, run_command


def summary(database: Database, *, root: Path = ROOT, prefix: str = "") -> str:
    environment = database.environment | {"GRANARY_SCHEMA_PREFIX": prefix, "LC_ALL": "C"}
    done = run_command("scripts/summary.sh", root=root, env=environment, cwd="/")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_it_shows_the_rows_of_each_feed(sample: Database) -> None:
    shown = summary(sample)
    cells = [[cell.strip() for cell in line.split("│")] for line in shown.splitlines()]
    counts = "count(*), sum(rows_read_count), sum(rows_loaded_count), sum(lines_rejected_count)"
    counts += ", sum(rows_rejected_count), sum(values_rejected_count)"
    feeds = sample.query(f"select feed, {counts} from marts.load_audit group by feed")
    assert [[feed, *(f"{number:,}" for number in numbers)] in cells for feed, *numbers in feeds] == [True] * len(feeds)
    assert "Not built yet" not in shown


@needs_sample
def test_what_is_missing_is_named_with_the_command_that_makes_it(
    sample: Database, new_database: Callable[[], Database]
) -> None:
    empty = new_database()
    assert "Rows per feed\n\nNothing is loaded yet: bin/ingest\n" in summary(empty)
    assert empty.run("bin/ingest", "--initial").returncode == 0
    assert "Rejected rows and values are known once they are built: bin/dbt build\n" in summary(empty)
    assert "Not built yet: bin/dbt build\n" in summary(sample, prefix="second_")


@pytest.mark.parametrize("feeds", [["weather"], []])
def test_each_feed_adds_its_part(sample: Database, tmp_path: Path, feeds: list[str]) -> None:
    root = tmp_path / "it's a  clone"
    for path in ("bin", "scripts/in_venv.sh", "scripts/summary.sh", "scripts/granary/reports/summary.sql"):
        copy = shutil.copytree if (ROOT / path).is_dir() else shutil.copy
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / path, root / path)
    (root / ".venv").symlink_to(ROOT / ".venv")
    for feed in feeds:
        (root / "scripts/granary/feeds" / feed).mkdir(parents=True)
        (root / "scripts/granary/feeds" / feed / "summary.sql").write_text(r"\echo 'It rains.'")
    shown = summary(sample, root=root)
    assert shown.count("It rains.\n") == len(feeds)
    assert ("make notebook" in shown) == bool(feeds), "its charts are those of feeds"
    assert "marts in a browser\n          make " in shown


@pytest.mark.parametrize("mart", ["load_audit", pytest.param("fct_daily_sales", marks=pytest.mark.feeds("shop"))])
def test_marts_of_another_version_are_said_in_one_line(
    sample: Database, new_database: Callable[[Database], Database], mart: str
) -> None:
    column = {"load_audit": "rows_read_count", "fct_daily_sales": "units"}[mart]
    (database := new_database(sample)).query(f"alter table marts.{mart} rename column {column} to other")
    done = database.run("scripts/summary.sh")
    assert done.returncode != 0
    problem = rf"error: the marts were built by another version of the project \(column .*{column}.* does not exist\)"
    assert re.fullmatch(f"{problem}: run bin/dbt build --full-refresh\n", done.stderr)
