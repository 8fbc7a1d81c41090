"""bin/extract finds the feeds that can be fetched and runs the extractor of one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from conftest import ROOT, run_command

pytestmark = pytest.mark.fast


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package without extractors."""
    ignored = shutil.ignore_patterns("__pycache__", "feeds")
    shutil.copytree(ROOT / "scripts" / "granary", tmp_path / "scripts" / "granary", ignore=ignored)
    return tmp_path / "scripts" / "granary"


def add_extractor(package: Path, feed: str) -> None:
    (package / "feeds" / feed).mkdir(parents=True)
    (package / "feeds" / feed / "extract.py").write_text(
        f"import sys\n\ndef main():\n    print('{feed}', *sys.argv[1:])\n    return 3\n"
    )


def extract(package: Path, *arguments: str) -> CompletedProcess[str]:
    return run_command(sys.executable, "-m", "granary.extract", *arguments, env={"PYTHONPATH": str(package.parent)})


def test_without_an_extractor_nothing_can_be_fetched(package: Path) -> None:
    assert extract(package, "--help").stdout.endswith("Feeds that can be fetched: none\n")
    done = extract(package)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: no feed can be fetched: none has a scripts/granary/feeds/<feed>/extract.py\n"


def test_the_only_extractor_needs_no_name(package: Path) -> None:
    add_extractor(package, "weather")
    for arguments in ([], ["weather"]):
        done = extract(package, *arguments, "--days", "3")
        assert (done.returncode, done.stdout, done.stderr) == (3, "weather --days 3\n", "")


def test_of_several_extractors_one_must_be_named(package: Path) -> None:
    add_extractor(package, "weather")
    add_extractor(package, "rates")
    assert extract(package, "--help").stdout.endswith("Feeds that can be fetched: rates, weather\n")
    assert extract(package, "rates", "--help").stdout == "rates --help\n"
    done = extract(package, "--days", "3")
    assert (done.returncode, done.stderr) == (1, "error: which feed? Choose one:  bin/extract rates | weather\n")
    done = extract(package, "shop")
    assert done.returncode == 1
    assert done.stderr == "error: shop can't be fetched: it has no extractor; feeds that have one: rates, weather\n"
