"""Landing files that went wrong elsewhere, one folder each in tests/cases/files, and what bin/ingest must make of them.

A folder holds the landing files (or make.py, which writes them into the current folder), perhaps the feed's own
sources.yml, and expected.yml:

    idea: what the case stands for
    names: [h/t]                        # arguments of bin/ingest (default: none)
    exit_code: 1                        # default: 0
    columns: [order_id, tax]            # columns of the rows (default: those that the source declares)
    rows: [[2, o1, "5"]]                # the line, and the values; default: none
    rejected: [[3, ragged]]             # the line, and the reason; default: none
    says: [new column tax]              # parts of what bin/ingest prints

Another feed is always there, with one file: whatever happens, it loads, and no traceback shows.
"""

from __future__ import annotations

import runpy
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from conftest import ROOT, Database
from granary import project
from granary.loader import ingest

CASES = Path(__file__).resolve().parent / "cases" / "files"
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
