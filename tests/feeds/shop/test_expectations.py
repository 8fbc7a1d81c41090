"""Great Expectations on the shop's raw tables: it counts as staging does, finds what is planted, and stays at home."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from conftest import DBT, ROOT, Database
from granary.project import GranaryError
from granary.reports import expectations
from test_quality_report import Page

EVIL = "<script>alert('rejected')</script>"
CHECK = ("scripts/in_venv.sh", "granary.reports.expectations")
COLUMNS = (
    "order_id",
    "customer_id",
    "product_id",
    "quantity",
    "unit_price",
    "discount",
    "discount_share",
    "order_date",
    "status",
)
MARTS = ("rejected_rows", "load_audit", "build_log")

# Runs a script that may not talk to anything but the database's socket, which libpq does past Python anyway.
AT_HOME = """
import os, runpy, sys

def watch(event, arguments):
    is_local = event == "socket.connect" and isinstance(arguments[1], str)
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto") and not is_local:
        os.write(2, f"{event} {arguments}".encode())
        os._exit(99)

sys.addaudithook(watch)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def check(database: Database, directory: Path, *arguments: str, code: int = 0) -> dict[str, Any]:
    """Check, and return the results, with the command itself under `done`."""
    done = database.run(*CHECK, "--output", directory, *arguments)
    assert done.returncode == code, done.stdout + done.stderr
    return json.loads((directory / "results.json").read_text()) | {"done": done}


def unexpected(results: dict[str, Any], table: str, column: str) -> dict[str, int]:
    """Return how many values of a column are unexpected, where any are, by what is expected."""
    (found,) = [one for one in results["tables"] if one["table"] == table]
    of_column = [one for one in found["expectations"] if one["column"] == column]
    return {one["expected"]: one["unexpected"] for one in of_column if one["unexpected"]}


@pytest.fixture(scope="module")
def loaded(new_database: Callable[[], Database]) -> Database:
    """The shop's sample data, loaded and not built."""
    database = new_database()
    done = database.run("bin/ingest", "shop")
    assert done.returncode == 0, done.stderr
    return database


@pytest.fixture(scope="module")
def sample(loaded: Database, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The page's directory and the results on the sample data, from a run that is watched (see AT_HOME)."""
    home = tmp_path_factory.mktemp("home")
    directory = tmp_path_factory.mktemp("a page") / "expectations"
    command = (sys.executable, "-c", AT_HOME, CHECK[1], "--output", directory)
    tables = "select relname, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_user_tables order by 1"
    before = loaded.query(tables)
    done = loaded.run(*command, env={"HOME": str(home)}, cwd=home)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    assert [*home.iterdir()] == [], "Great Expectations keeps no files of its own"
    assert loaded.query(tables) == before, "the warehouse is as it was"
    return directory, json.loads((directory / "results.json").read_text()) | {"done": done}


@pytest.fixture(scope="module")
def built(loaded: Database) -> None:
    """The marts that the quality report can't do without."""
    select = ["--select", *(f"+{name}" for name in MARTS), "--exclude-resource-type", "test", "unit_test"]
    done = loaded.run(*DBT, "build", *select)
    assert done.returncode == 0, done.stdout


def test_the_sample_ends_green_with_warnings(sample: tuple[Path, dict[str, Any]]) -> None:
    directory, results = sample
    done = results["done"]
    assert done.stdout.startswith("shop__customers     115 rows, 4 of 8 expectations met\n")
    assert "  warning   signup_date is a day, written as 2026-02-03: 2 of 113 unexpected, 1% allowed (03/02/2026, " in (
        done.stdout
    )
    assert done.stdout.endswith(f"\nexpectations: {directory / 'index.html'}\n")
    assert {table["table"]: table["counts"]["warning"] for table in results["tables"]} == {
        "shop__customers": 4,
        "shop__products": 5,
        "shop__orders": 0,
    }
    assert not any(table["counts"]["critical"] for table in results["tables"])
    assert sorted(path.name for path in directory.iterdir()) == ["index.html", "results.json"]


def test_every_count_is_that_of_staging(loaded: Database, sample: tuple[Path, dict[str, Any]], built: None) -> None:
    """Two readings of the same values, one in dbt's macros and one in expectations, agree on each column."""
    kinds = {"expect_column_values_to_not_be_null": "missing", "expect_column_values_to_match_regex": "unreadable"}
    found: Counter[tuple[str, str, str]] = Counter()
    for table in sample[1]["tables"]:
        for one in table["expectations"]:
            column = one["rule"].get("column", "")
            if column and not column.startswith("unknown_"):
                kind = "unreadable" if column.endswith("_impossible") else kinds.get(one["type"], "invalid")
                found[table["table"], one["column"].removesuffix("_share"), kind] += one["unexpected"]
    rejected = loaded.query("""
        select
            'shop__' || entity,
            column_name,
            case
                when reason = 'missing_required' then 'missing'
                else reason
            end as kind,
            count(*)
        from marts.rejected_rows
        where feed = 'shop' and column_name is not null
        group by 1, 2, 3
    """)
    assert len(rejected) > 20
    assert +found == {tuple(key): count for *key, count in rejected}


def test_each_unexpected_value_has_its_file_and_line(sample: tuple[Path, dict[str, Any]]) -> None:
    orders = sample[1]["tables"][2]["expectations"]
    (dates,) = [one for one in orders if (one["column"], one["expected"][:8]) == ("order_date", "is a day")][:1]
    assert dates["samples"][0] == {"value": "03/02/2026", "file": "initial/shop/orders.csv", "line": 98}
    line = (ROOT / "data" / "initial" / "shop" / "orders.csv").read_text("utf-8").splitlines()[97]
    assert "03/02/2026" in line


def test_planted_errors_are_found_and_a_replaced_batch_is_forgotten(
    new_database: Callable[[], Database], sample: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    database = new_database()
    data = Path(shutil.copytree(ROOT / "data", tmp_path / "data", ignore=shutil.ignore_patterns("raw")))
    bad = data / "incremental" / "shop" / "orders" / "bad.csv"
    header = "order_id,customer_id,product_id,quantity,unit_price,discount,order_date,status\n"
    good = [f"n_{number},c_001,p_01,1,20.00,,2026-02-08,placed\n" for number in range(16)]
    broken = [
        "NULL,c_001,p_01,1,20.00,,2026-02-08,placed\n",
        "n_20,c_001,p_01,1,20.00,,08.02.2026,placed\n",
        "n_21,c_001,p_01,1,20.00,,2026-02-31,placed\n",
        f'n_22,c_nobody,p_01,1,20.00,,2026-02-31,"{"long " * 999}\n\x1b[31mred"\n',
        "n_23,c_001,p_01,1,20.00,,2026-02-08,?!\n",
        "n_1,c_001,p_01,1,20.00,,2026-02-08,***\n",
    ]
    bad.write_text("".join([header, *good, *broken]))
    people = data / "incremental" / "shop" / "customers" / "evil.csv"
    people.write_text(f'customer_id,name,email,country,signup_date\nc_evil,Eve,"{EVIL}",DE,2026-02-08\n')

    def load(*arguments: str) -> None:
        done: CompletedProcess[str] = database.run("bin/ingest", "--data-dir", data, *arguments, "shop")
        assert done.returncode == 0, done.stderr

    load()
    batches = database.query(
        "select batch_id from raw._batches where path like '%%/bad.csv' or path like '%%/evil.csv'"
    )
    results = check(database, tmp_path / "two", "--batch", *(str(batch) for (batch,) in batches), code=1)
    assert results["done"].stderr == "error: 2 critical expectations are not met; docs/quality.md says what to do\n"
    assert "  critical  order_date is a day of the calendar: 2 of 22 unexpected, 5% allowed (2026-02-31)\n" in (
        results["done"].stdout
    )
    assert "\x1b" not in results["done"].stdout and len(results["done"].stdout) < 3000
    assert [(table["table"], table["row_count"]) for table in results["tables"]] == [
        ("shop__customers", 1),
        ("shop__orders", 22),
    ]
    assert {column: found for column in COLUMNS if (found := unexpected(results, "shop__orders", column))} == {
        "order_id": {"is there": 1},
        "order_date": {"is a day of the calendar": 2, "is a day, written as 2026-02-03": 1},
        "status": {"is a word": 2},
        "customer_id": {"is a customer who was delivered": 1},
    }
    page = Page((tmp_path / "two" / "index.html").read_text())
    assert page.text("glance.shop__orders").startswith("shop__orders ✗ 2 not met")
    assert EVIL in page.text("shop__customers") and "script" not in page.tags

    bad.write_text("".join([header, *good]))
    load("--replace")
    results = check(database, tmp_path / "all")
    assert results["tables"][2]["row_count"] == sample[1]["tables"][2]["row_count"] + 16
    for column in COLUMNS:
        assert unexpected(results, "shop__orders", column) == unexpected(sample[1], "shop__orders", column)


def test_the_report_links_to_the_results_and_says_when_they_are_old(
    loaded: Database, sample: tuple[Path, dict[str, Any]], built: None, tmp_path: Path
) -> None:
    def report(directory: Path) -> Page:
        done = loaded.run("scripts/in_venv.sh", "granary.reports.quality", "--output", directory / "page.html")
        assert done.returncode == 0, done.stderr
        return Page((directory / "page.html").read_text())

    assert "Not checked: make expectations" in report(tmp_path).text("expectations")
    page = report(sample[0].parent)
    assert page.text("expectations.shop__orders") == "shop__orders ✓ all met 1,193 22 0 0"
    assert page.text("expectations.shop__products").startswith("shop__products ! warnings 65 4 5 0")
    assert "came later" not in page.text("expectations")
    links = [link for link in page.links if not link.startswith("#")]
    assert len(links) == 4
    there = Page((sample[0] / "index.html").read_text())
    for link in links:
        path, _, name = link.partition("#")
        assert (sample[0].parent / path).samefile(sample[0] / "index.html")
        assert not name or name in there.texts
    assert [link for link in there.links if not link.startswith("#")] == ["../quality_report.html"]

    stale = Path(shutil.copytree(sample[0].parent, tmp_path / "stale"))
    results = json.loads((stale / "expectations" / "results.json").read_text())
    results["batch_ids"].pop()
    (stale / "expectations" / "results.json").write_text(json.dumps(results))
    assert "! 1 batch came later: make expectations looks again." in report(stale).text("expectations")
    (stale / "expectations" / "results.json").write_text("[")
    done = loaded.run("scripts/in_venv.sh", "granary.reports.quality", "--output", stale / "page.html")
    assert done.returncode == 1 and done.stderr.endswith("). Run this again:  make expectations\n")


def test_the_page_needs_nothing_else(sample: tuple[Path, dict[str, Any]]) -> None:
    page = Page((sample[0] / "index.html").read_text())
    assert page.outside == [] and "script" not in page.tags
    assert not re.search(r"""https?:|url\(|@import|<link|<iframe|<object""", page.source)
    assert "default-src 'none'" in page.source


def test_what_is_missing_is_said_with_the_way_out(
    loaded: Database, new_database: Callable[[], Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def error(database: Database, *arguments: str | Path, env: dict[str, str] | None = None) -> str:
        done = database.run(*CHECK, *(arguments or ("--output", tmp_path / "page")), env=env or {})
        assert (done.returncode, done.stdout) == (1, ""), done.stdout
        return done.stderr

    empty = new_database()
    first = "error: nothing is loaded yet. Run this first:  bin/ingest shop\n"
    assert error(empty) == first
    assert empty.run("bin/ingest", "--initial", "market").returncode == 0
    assert error(empty) == first
    assert empty.run("bin/ingest", "--initial", "shop/products").returncode == 0
    results = check(empty, tmp_path / "products", code=1)
    assert "shop__orders          0 rows, 21 of 22 expectations met\n  critical  the table has rows: it has none\n" in (
        results["done"].stdout
    )
    assert results["done"].stderr == "error: 2 critical expectations are not met; docs/quality.md says what to do\n"
    assert error(loaded, "--batch", "1", "99") == "error: batch 99 is not in use, or not one of shop: see make report\n"
    assert error(loaded, env={"PGHOST": str(tmp_path)}).startswith(
        "error: no PostgreSQL server can be reached at PGHOST="
    )
    loaded.query("create role stranger login")
    assert error(loaded, env={"PGUSER": "stranger"}).startswith("error: 'stranger' may not read raw: set PGUSER to")
    loaded.query("drop role stranger")
    (tmp_path / "file").touch()
    done = loaded.run(*CHECK, "--output", tmp_path / "file")
    assert done.returncode == 1
    assert (
        done.stderr == f"error: can't write {tmp_path / 'file' / 'index.html'}: a folder on the way is a file;"
        " choose another place with --output\n"
    )
    assert not (tmp_path / "page").exists()

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", [CHECK[1]])
    with pytest.raises(
        GranaryError, match="needs great_expectations, sqlalchemy, which isn't installed:  make expectations"
    ):
        expectations.main()


def test_it_explains_itself(loaded: Database) -> None:
    done = loaded.run(*CHECK, "--help")
    assert done.returncode == 0 and done.stdout.startswith("Check raw tables with Great Expectations")
