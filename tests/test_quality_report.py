"""The quality report: its numbers are those of the warehouse, a failed test shows its rows, and values stay text."""

from __future__ import annotations

import contextlib
import html.parser
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import Database, needs_sample
from granary import declared
from granary.project import GranaryError
from granary.reports import quality as quality_report

KEY = "quality_report"


class Page(html.parser.HTMLParser):
    """Collects of each element that has an id its text, and the texts of the elements with a class below it."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.source = page
        self.texts: dict[str, str] = {}
        self.classed: dict[tuple[str, str], str] = {}
        self.links: list[str] = []
        self.outside: list[str] = []
        self.tags: set[str] = set()
        self.open: list[tuple[str, str | None, list[str]]] = []
        self.titles: dict[str, list[str]] = {}  # of the elements below one with an id
        self.feed(page)
        self.close()
        assert not self.open, "all elements are closed"

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.tags.add(tag)
        self.links += [values["href"]] if tag == "a" else []
        self.outside += [values[name] for name in ("src", "data", "srcset", "xlink:href") if name in values]
        assert not [name for name in values if name.startswith("on")], "no handlers"
        if tag not in ("meta", "br", "wbr"):
            assert values.get("id") not in self.texts, "ids are unique"
            self.open.append((tag, values.get("id"), (values.get("class") or "").split()))
            self.texts |= {values["id"]: ""} if "id" in values else {}

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.handle_data(" ")
        assert self.open.pop()[0] == tag, "elements are closed in order"

    def handle_data(self, data: str) -> None:
        for number, (_, name, _) in enumerate(self.open):
            if name:
                if self.open[-1][0] == "title":
                    self.titles.setdefault(name, []).append(data)
                self.texts[name] += data
                for kind in {kind for _, _, kinds in self.open[number + 1 :] for kind in kinds}:
                    self.classed[name, kind] = self.classed.get((name, kind), "") + data

    def text(self, name: str) -> str:
        return " ".join(self.texts[name].split())

    def number(self, name: str, kind: str) -> Decimal | None:
        found = self.classed[name, kind].strip().replace(",", "").replace("−", "-")
        return None if found == "–" else Decimal(found)


@pytest.fixture(scope="module")
def built(
    new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Database, dict[str, str]]:
    """The sample data, built with all tests; the environment in which it was built."""
    database, directory = new_database(), tmp_path_factory.mktemp("built")
    environment = {"DBT_TARGET_PATH": str(directory / "target")}
    for command in (("bin/ingest",), ("bin/dbt", "--quiet", "build")):
        done = database.run(*command, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return database, environment


def report(database: Database, path: Path, environment: dict[str, str]) -> Page:
    done = database.run("scripts/in_venv.sh", "granary.reports.quality", "--output", path, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert done.stdout == f"quality report: {path}\n"
    return Page(path.read_text())


@pytest.fixture(scope="module")
def page(built: tuple[Database, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report on the green build."""
    return report(built[0], tmp_path_factory.mktemp("page") / "a page.html", built[1])


def rows(database: Database, text: str) -> list[dict[str, Any]]:
    """Rows of a query that gives one column of JSON."""
    return [row for (row,) in database.query(f"select to_jsonb(found) from ({text}) as found")]


@needs_sample
def test_all_is_green_at_a_glance(built: tuple[Database, dict[str, str]], page: Page) -> None:
    database, environment = built
    assert page.text("glance.build").startswith("Latest build ✓ passed ")
    ((passed, warned),) = database.query("select tests_passed_count, tests_warned_count from marts.build_log")
    results = json.loads((Path(environment["DBT_TARGET_PATH"]) / "run_results.json").read_text())["results"]
    assert passed + warned == sum("test" in result["unique_id"].split(".")[0] for result in results)
    assert warned > 0, "odd values of the sample make tests warn"
    assert page.number("glance.tests", "passed") == passed
    assert page.text("glance.tests") == f"Tests ✓ none failed {passed} passed, {warned} warned"
    assert page.text("glance.money").startswith("Money ✓ reconciled")
    assert page.text("glance.freshness") == f"Freshness ✓ as promised {len(declared.entities())} tables"
    read, staged, lines, values = database.query(
        "select sum(rows_read), (select count(*) from raw._batches), sum(rows_rejected), sum(rows_loaded)"
        " from raw._batches"
    )[0]
    assert page.number("glance.rows", "read") == read == lines + values
    assert f"of {staged} files" in page.text("glance.rows")
    assert read == page.number("glance.rows", "used") + page.number("glance.rows", "rejected")


def test_rows_of_each_batch_and_feed_are_those_of_the_warehouse(
    built: tuple[Database, dict[str, str]], page: Page
) -> None:
    database, _ = built
    counts = (
        "sum(rows_read_count) as read, sum(lines_rejected_count) as lines_rejected, sum(rows_loaded_count) as loaded,"
        " sum(rows_rejected_count) as rows_rejected, sum(usage.rows_staged_count) as staged,"
        " sum(rows_superseded_count) as superseded, sum(rows_current_count) as current"
    )
    tables = "marts.load_audit as audit inner join marts.batch_usage as usage using (batch_id)"
    batches = rows(database, f"select batch_id, file_path, {counts} from {tables} group by 1, 2")
    feeds = rows(database, f"select audit.feed, {counts} from {tables} group by 1")
    assert sorted(row["feed"] for row in feeds) == declared.feeds()
    for row in batches + feeds:
        name = f"batch.{row['batch_id']}" if "batch_id" in row else f"feed.{row['feed']}"
        assert row.get("file_path", "") in page.text(name)
        assert page.text(name).endswith("✓ yes")
        for key in ("read", "lines_rejected", "loaded", "rows_rejected", "staged", "superseded", "current"):
            assert page.number(name, key) == row[key], (name, key)
        assert row["read"] == row["lines_rejected"] + row["rows_rejected"] + row["superseded"] + row["current"]


def test_money_is_that_of_the_warehouse(built: tuple[Database, dict[str, str]], page: Page) -> None:
    database, _ = built
    steps = rows(database, "select * from marts.money_reconciliation")
    assert len(steps) == sum(name.startswith("money.") for name in page.texts)
    for step in steps:
        name = "money.{feed}.{measure}.{step_number}".format(**step)
        assert page.number(name, "usd") == Decimal(str(step["amount_usd"])), name
        assert page.number(name, "count") == step["row_count"], name
        assert step["step_title"] in page.text(name) and step["measure_title"] in page.text("money")


def test_what_was_rejected_is_there_with_samples(built: tuple[Database, dict[str, str]], page: Page) -> None:
    database, _ = built
    counts = "select count(*), explanation, severity, reason from marts.rejected_rows"
    reasons = sorted(database.query(f"{counts} where state = 'open' group by 2, 3, 4"), reverse=True)
    shown = [page.text(name) for name in page.texts if name.startswith("reject.")]
    assert len(shown) == min(len(reasons), quality_report.REASONS)
    for count, explanation, severity, reason in reasons[:10]:
        assert any(text.startswith(f"{count} × {explanation} ({severity}, {reason})") for text in shown), explanation


def test_each_mart_that_declares_a_section_is_shown(built: tuple[Database, dict[str, str]], page: Page) -> None:
    declaring = {mart.name: mart.meta["quality_report"] for mart in declared.marts().values() if mart.meta.get(KEY)}
    assert [f"section.{name}" for name in declaring] == [name for name in page.texts if name.startswith("section.")]
    for name, spec in declaring.items():
        assert page.text(f"section.{name}").startswith(spec["title"])
        values = rows(built[0], f"select * from marts.{name}")
        if spec["as"] == "figures":
            shown = {column: page.text(f"{name}.{column}").replace(",", "") for column in values[0]}
            for column, value in values[0].items():
                text = shown[column]
                is_right = (
                    Decimal(text) == Decimal(str(value)) if isinstance(value, int | float) else text == str(value)
                )
                assert is_right or (value, text) == (None, "–"), column
        else:
            bars = [tuple(title.split(": ")) for title in page.titles[f"section.{name}"]]
            last = sorted((str(row[spec["x"]]), f"{row[spec['y']]:,}") for row in values)[-quality_report.BARS :]
            assert bars == [bar for bar in last if bar[1] != "0"]


@pytest.mark.parametrize(
    "spec",
    ["figures", {"as": "figures"}, {"title": "A", "as": "pie"}, {"title": "A", "as": "bars", "x": "day", "y": "no"}],
)
def test_a_section_that_can_not_be_shown_is_refused(database: Database, spec: object) -> None:
    mart = declared.Mart("a", "f", "", (), (declared.Column("day", "date"),), {KEY: spec}, Path("a.yml"))
    with (
        contextlib.closing(database.connect()) as connection,
        pytest.raises(GranaryError, match=r"a\.yml: meta\.quality_report needs"),
    ):
        quality_report.section(connection.cursor(), mart)


def test_a_section_whose_mart_lost_a_column_has_no_rows(database: Database) -> None:
    database.query("create schema marts; create table marts.a (day date)")
    columns = (declared.Column("day", "date"), declared.Column("total", "bigint"))
    mart = declared.Mart("a", "f", "", (), columns, {KEY: {"title": "A", "as": "figures"}}, Path("a.yml"))
    with contextlib.closing(database.connect()) as connection:
        assert quality_report.section(connection.cursor(), mart)["rows"] is None


def test_every_test_is_there_with_its_sql(built: tuple[Database, dict[str, str]], page: Page) -> None:
    results = json.loads((Path(built[1]["DBT_TARGET_PATH"]) / "run_results.json").read_text())["results"]
    tests = [result for result in results if result["unique_id"].startswith(("test.", "unit_test."))]
    assert tests
    for test in tests:
        text = page.text(test["unique_id"])
        assert text.startswith(
            "! warn " if test["status"] == "warn" else "✓ pass "
        )  # the sample has oddities on purpose
        assert " ".join(test["compiled_code"].split())[-60:] in text


def test_freshness_and_builds_are_those_of_the_ledger(built: tuple[Database, dict[str, str]], page: Page) -> None:
    for feed, entity in built[0].query("select distinct feed, entity from raw._batches"):
        assert re.match(rf"{feed}__{entity} ✓ fresh \d+ \w+ 20", page.text(f"freshness.{feed}__{entity}"))
    ((build, models, passed, warned),) = built[0].query(
        "select build_id, models_built_count, tests_passed_count, tests_warned_count from marts.build_log"
    )
    assert re.search(rf"dbt build ✓ passed [\d.]+ s {models} {passed} {warned} 0 0$", page.text(f"build.{build}"))


@needs_sample
@pytest.mark.parametrize(("age", "glance"), [("40 hours", "! {} late"), ("8 days", "✗ {} late")])
def test_late_tables_are_seen_at_a_glance(
    built: tuple[Database, dict[str, str]], tmp_path: Path, age: str, glance: str
) -> None:
    database, environment = built
    shift = "update raw._batches set finished_at = finished_at {} interval %s"
    database.query(shift.format("-"), [age])
    try:
        text = report(database, tmp_path / "page.html", environment).text("glance.freshness")
    finally:
        database.query(shift.format("+"), [age])
    assert text.startswith(f"Freshness {glance.format(len(declared.entities()))}")


@pytest.mark.parametrize(
    ("hours", "state"), [(1, "fresh"), (36.1, "late"), (24 * 7 + 1, "broken"), (None, "never loaded")]
)
def test_promises_are_kept_or_not(hours: float | None, state: str) -> None:
    age = None if hours is None else quality_report.datetime.timedelta(hours=hours)
    source = {
        "freshness": {"warn_after": {"count": 36, "period": "hour"}, "error_after": {"count": 7, "period": "day"}}
    }
    periods = [quality_report.period_of(source, key) for key in ("warn_after", "error_after")]
    assert [quality_report.in_units(period) for period in periods] == ["36 hours", "7 days"]
    assert quality_report.state_of(age, *periods) == state
    assert quality_report.period_of({"freshness": None}, "warn_after") is None
    assert quality_report.state_of(age, None, None) == ("no promise" if hours else "never loaded")


def test_the_page_needs_nothing_else_and_its_links_lead_somewhere(page: Page) -> None:
    assert page.outside == []
    assert not re.search(r"""https?:|url\(|@import|<link|<iframe|<object""", page.source)
    assert {link.removeprefix("#") for link in page.links} <= set(page.texts)


def test_the_results_outlive_dbt_docs(built: tuple[Database, dict[str, str]], page: Page, tmp_path: Path) -> None:
    """`dbt docs generate` writes over run_results.json, and `make` calls it after the build."""
    database, environment = built
    target = Path(shutil.copytree(environment["DBT_TARGET_PATH"], tmp_path / "target"))
    done = database.run("bin/dbt", "--quiet", "docs", "generate", env={"DBT_TARGET_PATH": str(target)})
    assert done.returncode == 0, done.stdout
    assert json.loads((target / "run_results.json").read_text())["args"]["which"] == "generate"
    again = report(database, tmp_path / "page.html", {"DBT_TARGET_PATH": str(target)})
    assert again.text("glance.tests") == page.text("glance.tests")


def test_failing_rows_that_can_not_be_had_are_explained(database: Database) -> None:
    with database.connect() as connection:
        gone = quality_report.failing_rows(connection, "select * from marts.gone")
        assert gone["problem"].startswith("A table that it reads is gone (relation")
        wrong = quality_report.failing_rows(connection, "select 1 / 0 as number -- a comment")
        assert wrong["problem"] == "Its rows can't be read: division by zero"
        many = quality_report.failing_rows(connection, "select * from generate_series(1, 99) as number -- 100%")
        assert (len(many["rows"]), many["columns"], many["problem"]) == (10, ["number"], None)
    connection.close()


@needs_sample
def test_an_empty_warehouse_has_a_page(new_database: Callable[[], Database], tmp_path: Path) -> None:
    database, environment = new_database(), {"DBT_TARGET_PATH": str(tmp_path / "target")}
    (tmp_path / "data").mkdir()
    for command in (
        ("bin/ingest", "--data-dir", tmp_path / "data"),
        ("bin/dbt", "--quiet", "build", "--exclude-resource-type", "unit_test"),
    ):
        done = database.run(*command, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    page = report(database, tmp_path / "page.html", environment)
    assert page.text("glance.rows").startswith("Rows 0 delivered 0 used, 0 rejected (0 rejections open), of 0 files")
    tables = [entity.table for entity in declared.entities().values()]
    assert page.text("glance.freshness") == (
        f"Freshness ! nothing loaded {len(tables)} tables, {len(tables)} never loaded"
    )
    for table in tables:
        assert page.text(f"freshness.{table}").startswith(f"{table} ! never loaded")
    assert all(page.number(name, "usd") == 0 for name in page.texts if name.startswith("money."))


def test_marts_of_another_version_are_named(
    built: tuple[Database, dict[str, str]], new_database: Callable[[Database], Database], tmp_path: Path
) -> None:
    database, environment = new_database(built[0]), built[1]
    sections = {"batch_usage": "rows", "money_reconciliation": "money", "rejected_rows": "rejects"}
    sections |= {"build_log": "trend", "load_audit": "rows"}
    lost = {"money_reconciliation": "is_total", "rejected_rows": "explanation", "build_log": "selection"}
    lost |= {"batch_usage": "rows_superseded_count", "load_audit": "rows_staged_count"}
    for mart, name in sections.items():
        database.query(f"alter table marts.{mart} rename column {lost[mart]} to other")
        page = report(database, tmp_path / "page.html", environment)
        said = rf"✗ {mart} was built by another version of the project \(column .*{lost[mart]}.* does not exist\)"
        assert re.search(f"{said}: bin/dbt build --full-refresh", page.text(name)), page.text(name)
        assert "bin/ingest" not in page.text(name)
        assert page.text("glance.rows").startswith("Rows –") == (mart == "load_audit")
    assert page.text("glance.money") == "Money ✗ can't be read bin/dbt build --full-refresh"


def test_before_the_first_build_there_is_nothing_to_report(
    built: tuple[Database, dict[str, str]], new_database: Callable[[], Database], tmp_path: Path
) -> None:
    """Such as after a first build that dbt could not even parse: its error is followed by one line, and no other."""
    database, environment = built
    command = ("scripts/in_venv.sh", "granary.reports.quality", "--output", tmp_path / "page.html")
    target = tmp_path / "target"
    done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
    path = target / "manifest.json"
    told = f"quality report: nothing to report yet: dbt has not written {path} yet. Run this first:  bin/dbt build\n"
    assert (done.returncode, done.stdout, done.stderr) == (0, told, "")
    target.mkdir()
    shutil.copy(Path(environment["DBT_TARGET_PATH"]) / "manifest.json", target)
    done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
    assert (done.returncode, done.stdout, done.stderr) == (0, told.replace("manifest", "test_results"), "")
    (target / "manifest.json").write_text("{")
    done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
    assert done.returncode == 1 and done.stderr.endswith("). Let dbt write it again:  bin/dbt build\n")
    done = new_database().run(*command, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        "quality report: nothing to report yet: the warehouse isn't built. Run:  bin/ingest; bin/dbt build\n"
    )
    assert not (tmp_path / "page.html").exists()


def test_it_explains_itself(built: tuple[Database, dict[str, str]], tmp_path: Path) -> None:
    database, environment = built
    done = database.run("scripts/in_venv.sh", "granary.reports.quality", "--help")
    assert done.returncode == 0 and done.stdout.startswith("Write the quality report")
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "page.html"
    done = database.run("scripts/in_venv.sh", "granary.reports.quality", "--output", place, env=environment)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"error: can't write {place}: a folder on the way is a file; choose another place with --output\n"
    )
