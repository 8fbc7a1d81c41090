"""make expectations covers each feed that has expectations, and none is needed."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from conftest import ROOT, run_command

pytestmark = pytest.mark.fast


def test_without_expectations_there_is_nothing_to_check(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__", "feeds")
    shutil.copytree(ROOT / "scripts" / "granary", tmp_path / "scripts" / "granary", ignore=ignored)
    (tmp_path / "dbt" / "models").mkdir(parents=True)
    environment = {"PYTHONPATH": str(tmp_path / "scripts")}
    done = run_command(sys.executable, "-m", "granary.reports.expectations", env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("no feed has expectations")
