"""What went wrong elsewhere, a folder each: landing files, and what bin/ingest, or a whole build, must make of them.

A folder in tests/cases/files is about bin/ingest. It holds the landing files (or make.py, which writes them into the
current folder), perhaps the feed's own sources.yml, and expected.yml:

    idea: what the case stands for
    names: [h/t]                        # arguments of bin/ingest (default: none)
    exit_code: 1                        # default: 0
    columns: [order_id, tax]            # columns of the rows (default: those that the source declares)
    rows: [[2, o1, "5"]]                # the line, and the values; default: none
    rejected: [[3, ragged]]             # the line, and the reason; default: none
    says: [new column tax]              # parts of what bin/ingest prints

Another feed is always there, with one file: whatever happens, it loads, and no traceback shows.

A folder in tests/feeds/<feed>/cases is about the models. It holds <entity>/<n>.csv, the feed's nth delivery (or .jsonl,
.csv.gz, ...), and

    idea: what the case stands for
    selects: [{query: ..., rows: [[...]]}]
    warns: [values_are_plausible]       # tests of dbt that must warn; default: none

The deliveries of all cases are built together, so each has keys and dates of its own.
"""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from conftest import FEED_TESTS, NO_FEED, NO_LIMITS, ROOT, Database
from granary import declared, project
from granary.loader import ingest

CASES = Path(__file__).resolve().parent / "cases" / "files"
OF_MODELS = sorted(path for feed in declared.feeds() for path in (FEED_TESTS / feed / "cases").glob("*"))
NOT_LANDING = ("expected.yml", "sources.yml", "make.py", "__pycache__")
SOURCE = """
sources:
  - name: {feed}
    loader: bin/ingest
    tables:
      - name: t
        identifier: {feed}__t
        columns:
          - {{name: order_id, config: {{meta: {{required: true}}}}}}
          - {{name: note}}
          - {{name: amount}}
"""


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_bin_ingest_makes_of_the_case_what_it_must(
    case: str, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    expected = yaml.safe_load((CASES / case / "expected.yml").read_text("utf-8"))
    write_project(tmp_path, CASES / case, monkeypatch)
    monkeypatch.setattr(project, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["bin/ingest", *expected.get("names", [])])
    code = ingest.main()
    output = "\n".join(capsys.readouterr())
    assert code == expected.get("exit_code", 0), output
    assert all(map(str.isprintable, output.split("\n"))), "what a file holds can't act on the terminal"
    for part in expected.get("says", []):
        assert part in output
    columns = ", ".join(f'"{name}"' for name in expected.get("columns", ["order_id", "note", "amount"]))
    lines = (
        f"select _row_id - first_row_id + 1, {columns} from raw.h__t inner join raw._batches on batch_id = _batch_id"
    )
    is_there = database.query("select 1 from pg_class where oid = to_regclass('raw.h__t')")
    rows = [list(row) for row in database.query(f"{lines} order by _row_id")] if is_there else []
    assert rows == expected.get("rows", [])
    rejected = database.query("select line_number, reason from raw._rejected_lines order by batch_id, line_number")
    assert [list(line) for line in rejected] == expected.get("rejected", [])
    if "names" not in expected:
        assert database.query("select order_id from raw.good__t") == [("fine",)]


def write_project(root: Path, case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the declarations and the landing files of a case, and a second feed."""
    own = case / "sources.yml"
    for feed, text in {
        "h": own.read_text("utf-8") if own.exists() else SOURCE.format(feed="h"),
        "good": SOURCE,
    }.items():
        (root / "dbt/models/staging" / feed).mkdir(parents=True)
        (root / f"dbt/models/staging/{feed}/_{feed}__sources.yml").write_text(
            text.format(feed=feed) if feed == "good" else text, "utf-8"
        )
        (root / "data/incremental" / feed / "t").mkdir(parents=True)
    (root / "data/incremental/good/t/input.csv").write_text("order_id,note,amount\nfine,x,1\n")
    shutil.copy(ROOT / "dbt/dbt_project.yml", root / "dbt")
    landing = root / "data/incremental/h/t"
    for path in case.iterdir():
        if path.name not in NOT_LANDING:
            shutil.copy(path, landing)
    if (case / "make.py").exists():
        with monkeypatch.context() as patch:
            patch.chdir(landing)
            runpy.run_path(str(case / "make.py"))


@pytest.fixture(scope="module")
def built(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Database:
    """A warehouse with the deliveries of all cases of the models."""
    database, data = new_database(), tmp_path_factory.mktemp("data")
    for case in OF_MODELS:
        for path in case.glob("*/*"):
            folder = data / "incremental" / case.parent.parent.name / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            number, extension = path.name.split(".", 1)
            shutil.copy(path, folder / f"{number}_{case.name}.{extension}")
    for command in (
        ("bin/ingest", "--data-dir", data),
        ("bin/dbt", "--quiet", "build", *NO_LIMITS, "--exclude-resource-type", "unit_test"),
    ):
        done = database.run(*command, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
    return database


@pytest.fixture(scope="module")
def warnings(built: Database) -> set[str]:
    """The names of the tests that warned."""
    results = json.loads((Path(built.environment["DBT_TARGET_PATH"]) / "run_results.json").read_text())["results"]
    return {result["unique_id"].split(".")[2] for result in results if result["status"] == "warn"}


@pytest.mark.parametrize("case", OF_MODELS or [NO_FEED], ids=lambda case: getattr(case, "name", ""))
def test_a_build_makes_of_the_case_what_it_must(case: Path, built: Database, warnings: set[str]):
    expected = yaml.safe_load((case / "expected.yml").read_text("utf-8"))
    for select in expected["selects"]:
        assert [list(row) for row in built.query(select["query"])] == select["rows"], select["query"]
    assert {*expected.get("warns", [])} <= warnings
