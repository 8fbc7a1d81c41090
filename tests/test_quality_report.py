"""The quality report: its numbers are those of the warehouse, a failed test shows its rows, and values stay text."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Database
from granary.reports import quality as quality_report

pytestmark = pytest.mark.feeds("shop", "tickets")
EVIL = "<script>alert('rejected')</script>"


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
    """The sample data and a batch full of traps, built with all tests; what leads there."""
    database, directory = new_database(), tmp_path_factory.mktemp("built")
    shutil.copytree(ROOT / "data" / "initial", directory / "data" / "initial")
    shutil.copytree(ROOT / "data" / "incremental", directory / "data" / "incremental")
    batch = directory / "data" / "incremental" / "shop" / "customers" / "evil.csv"
    batch.write_text(
        "customer_id,name,email,country,signup_date,loyalty_tier\n"
        f'cu_evil,Eve,"{EVIL}",DE,2026-02-01,gold\n'
        f"cu_evil_2,{EVIL}\n"
        "cu_evil_3,Eva,,DE,2026-02-01,\n"
    )
    environment = {"DBT_TARGET_PATH": str(directory / "target")}
    for command in (("bin/ingest", "--data-dir", directory / "data"), ("bin/dbt", "--quiet", "build")):
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


def test_all_is_green_at_a_glance(built: tuple[Database, dict[str, str]], page: Page) -> None:
    database, environment = built
    assert page.text("glance.build").startswith("Latest build ✓ passed ")
    ((passed,),) = database.query("select tests_passed_count from marts.build_log")
    results = json.loads((Path(environment["DBT_TARGET_PATH"]) / "run_results.json").read_text())["results"]
    assert passed == sum("test" in result["unique_id"].split(".")[0] for result in results)
    assert page.number("glance.tests", "passed") == passed
    assert page.text("glance.tests") == f"Tests ✓ none failed {passed} passed"
    assert page.text("glance.money").startswith("Money ✓ reconciled")
    assert page.text("glance.freshness").startswith("Freshness ✓ as promised 16 tables")
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
        " sum(rows_quarantined_count) as quarantined, sum(usage.rows_staged_count) as staged,"
        " sum(rows_superseded_count) as superseded, sum(rows_current_count) as current"
    )
    tables = "marts.load_audit as audit inner join marts.batch_usage as usage using (batch_id)"
    batches = rows(database, f"select batch_id, file_path, {counts} from {tables} group by 1, 2")
    feeds = rows(database, f"select audit.feed, {counts} from {tables} group by 1")
    assert (len(batches), len(feeds)) == (58, 4)
    for row in batches + feeds:
        name = f"batch.{row['batch_id']}" if "batch_id" in row else f"feed.{row['feed']}"
        assert row.get("file_path", "") in page.text(name)
        assert page.text(name).endswith("✓ yes")
        for key in ("read", "lines_rejected", "loaded", "quarantined", "staged", "superseded", "current"):
            assert page.number(name, key) == row[key], (name, key)
        assert row["read"] == row["lines_rejected"] + row["quarantined"] + row["superseded"] + row["current"]


def test_each_feed_has_a_line_in_the_usage_of_batches(built: tuple[Database, dict[str, str]]) -> None:
    database, _ = built
    entities = "select distinct feed, entity from marts.{}"
    assert sorted(database.query(entities.format("batch_usage"))) == sorted(
        database.query(entities.format("load_audit"))
    ), "a new entity belongs into the macro current_versions"


def test_money_is_that_of_the_warehouse(built: tuple[Database, dict[str, str]], page: Page) -> None:
    database, _ = built
    steps = rows(database, "select * from marts.money_reconciliation")
    assert len(steps) == 25
    for step in steps:
        name = "money.{feed}.{measure}.{step_number}".format(**step)
        assert page.number(name, "usd") == Decimal(str(step["amount_usd"])), name
        assert page.number(name, "count") == step["row_count"], name
    for name, text in {
        "money.tickets.order_totals.7": "select sum(gross_sales_usd) from marts.fct_weekly_sales",
        "money.tickets.collected.9": "select sum(collected_usd) from marts.fct_weekly_sales",
        "money.shop.net_sales.7": "select sum(net_sales_usd) from marts.fct_daily_sales",
    }.items():
        assert [(page.number(name, "usd"),)] == database.query(text)
        assert page.texts[name].split()[-1] == "0.00"


def test_what_was_rejected_is_there_with_samples(built: tuple[Database, dict[str, str]], page: Page) -> None:
    database, _ = built
    reasons = database.query("select count(*), reason, severity from marts.rejected_rows group by 2, 3")
    shown = [page.text(name) for name in page.texts if name.startswith("reject.")]
    assert len(shown) == min(len(reasons), quality_report.REASONS)
    for count, reason, severity in sorted(reasons, reverse=True)[:10]:
        assert any(text.startswith(f"{count} × {reason} ({severity})") for text in shown), reason
    emails = next(text for text in shown if "cannot be read as email" in text)
    assert re.search(r"initial/tickets/accounts.csv 12 email mara\.lind\(at\)example\.org", emails)


def test_a_planted_script_stays_text(page: Page) -> None:
    assert EVIL in page.text("rejects")
    assert "&lt;script&gt;alert(&#39;rejected&#39;)&lt;/script&gt;" in page.source
    assert "script" not in page.tags and "<script" not in page.source.lower()
    assert "default-src 'none'" in page.source


def test_new_columns_are_named_with_the_batch_that_brought_them(
    built: tuple[Database, dict[str, str]], page: Page
) -> None:
    ((batch,),) = built[0].query("select batch_id from raw._batches where path like '%/evil.csv'")
    assert page.text("new.shop__customers.loyalty_tier") == (
        f"shop__customers.loyalty_tier {batch} incremental/shop/customers/evil.csv 1"
    )
    assert [name for name in page.texts if name.startswith(("new.", "empty."))] == ["new.shop__customers.loyalty_tier"]


def test_identity_is_that_of_the_warehouse(built: tuple[Database, dict[str, str]], page: Page) -> None:
    ids = {
        "identity.customers": "select count(distinct canonical_customer_id)"
        " from intermediate.int_identity__canonical_customers",
        "identity.ids": "select count(*) from intermediate.int_identity__canonical_customers",
        "identity.merges": "select count(*) from staging.stg_tickets__identity_merges",
        "identity.ignored": "select count(*) from staging.stg_tickets__identity_merges as merges"
        " inner join staging.identity_overrides using (from_customer_id, to_customer_id)",
        "identity.cycles": "select count(*) from intermediate.int_identity__latest_merges as merges"
        " inner join marts.dim_customer using (customer_id) where absorbed_by_customer_id is not null",
    }
    for name, text in ids.items():
        assert [(int(page.text(name).replace(",", "")),)] == built[0].query(text), name
    assert page.text("identity.cycles") == "1", "the sample data has one"
    largest = "select max(customer_id_count) from marts.dim_customer"
    assert page.text("identity.largest") == f"{built[0].query(largest)[0][0]} ids"


def test_every_test_is_there_with_its_sql(built: tuple[Database, dict[str, str]], page: Page) -> None:
    results = json.loads((Path(built[1]["DBT_TARGET_PATH"]) / "run_results.json").read_text())["results"]
    tests = [result for result in results if result["unique_id"].startswith(("test.", "unit_test."))]
    assert len(tests) > 500
    for test in tests:
        text = page.text(test["unique_id"])
        assert text.startswith("✓ pass ")
        assert " ".join(test["compiled_code"].split())[-60:] in text


def test_freshness_and_builds_are_those_of_the_ledger(built: tuple[Database, dict[str, str]], page: Page) -> None:
    for feed, entity in built[0].query("select distinct feed, entity from raw._batches"):
        assert re.match(rf"{feed}__{entity} ✓ fresh \d+ \w+ 20", page.text(f"freshness.{feed}__{entity}"))
    ((build, models, passed),) = built[0].query(
        "select build_id, models_built_count, tests_passed_count from marts.build_log"
    )
    assert re.search(rf"dbt build ✓ passed [\d.]+ s {models} {passed} 0 0 0$", page.text(f"build.{build}"))


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


def test_failed_tests_show_their_rows_and_what_was_not_rebuilt(
    built: tuple[Database, dict[str, str]], tmp_path: Path
) -> None:
    database, environment = built
    target = Path(shutil.copytree(environment["DBT_TARGET_PATH"], tmp_path / "target"))
    environment = {"DBT_TARGET_PATH": str(target)}
    try:
        database.query(
            "update marts.fct_weekly_sales set gross_sales_usd = gross_sales_usd - 0.01, event_id = %s"
            " where (sales_week, event_id) = ('2026-02-02', 'e_01')",
            [EVIL],
        )
        select = ("--select", "order_totals_are_conserved", "money_reconciliation", "relationships_fct_weekly_sales*")
        assert database.run("bin/dbt", "--quiet", "build", *select, env=environment).returncode == 1
        red = report(database, tmp_path / "red.html", environment)
        assert red.text("glance.build").startswith("Latest build ✗ failed ")
        assert red.text("glance.tests").startswith("Tests ✗ ")
        test = "test.granary.order_totals_are_conserved"
        (reference,) = [key for key in red.texts if key.startswith("test.granary.relationships_fct_weekly_sales")]
        staged, weekly = database.query(
            "select (select sum(order_total_usd) from marts.fct_orders), (select sum(gross_sales_usd) from"
            " marts.fct_weekly_sales)"
        )[0]
        assert staged == weekly + Decimal("0.01")
        assert f"Rows that fail it now staged_usd orders_usd weekly_usd {staged} {staged} {weekly} " in red.text(test)
        assert re.match(r"✗ fail order_totals_are_conserved [\d.]+ s, 1 row Got 1 result", red.text(test))
        assert f"Rows that fail it now from_field {EVIL} SQL" in red.text(reference)
        assert "<script" not in red.source.lower()

        # The money was skipped, because the test before it failed: the page says so, and does not call it reconciled.
        assert "did not rebuild money_reconciliation, because something before it failed" in red.text("money")
        assert red.text("glance.money").startswith("Money ! not checked")
        done = database.run("bin/dbt", "--quiet", "run", "--select", "money_reconciliation", env=environment)
        assert done.returncode == 0, done.stdout
        red = report(database, tmp_path / "red.html", environment)
        assert "did not rebuild" not in red.text("money")
        assert red.text("glance.money") == "Money ✗ does not add up What was ordered"
        assert "✗ −0.01" in red.text("money.tickets.order_totals.7")
    finally:
        database.query(
            "update marts.fct_weekly_sales set gross_sales_usd = gross_sales_usd + 0.01, event_id = 'e_01'"
            " where event_id = %s",
            [EVIL],
        )


def test_failing_rows_that_can_not_be_had_are_explained(database: Database) -> None:
    with database.connect() as connection:
        gone = quality_report.failing_rows(connection, "select * from marts.gone")
        assert gone["problem"].startswith("A table that it reads is gone (relation")
        wrong = quality_report.failing_rows(connection, "select 1 / 0 as number -- a comment")
        assert wrong["problem"] == "Its rows can't be had: division by zero"
        many = quality_report.failing_rows(connection, "select * from generate_series(1, 99) as number -- 100%")
        assert (len(many["rows"]), many["columns"], many["problem"]) == (10, ["number"], None)
    connection.close()


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
    assert page.text("glance.rows").startswith("Rows 0 delivered 0 used, 0 rejected, of 0 files")
    assert page.text("glance.freshness") == "Freshness ! nothing loaded 16 tables, 16 never loaded"
    assert page.text("freshness.shop__orders").startswith("shop__orders ! never loaded")
    assert page.text("money.shop.net_sales.9").endswith("0.00 ✓ 0.00")
    assert page.text("identity.customers") == "0"


def test_what_is_missing_is_said_with_the_command_that_makes_it(
    built: tuple[Database, dict[str, str]], new_database: Callable[[], Database], tmp_path: Path
) -> None:
    database, environment = built
    command = ("scripts/in_venv.sh", "granary.reports.quality", "--output", tmp_path / "page.html")
    target = tmp_path / "target"
    done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
    path = target / "manifest.json"
    error = f"error: {path} isn't there: dbt writes it. Run this first:  bin/dbt build\n"
    assert (done.returncode, done.stderr) == (1, error)
    target.mkdir()
    shutil.copy(Path(environment["DBT_TARGET_PATH"]) / "manifest.json", target)
    done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
    assert (done.returncode, done.stderr) == (1, error.replace("manifest", "test_results"))
    (target / "manifest.json").write_text("{")
    done = database.run(*command, env={"DBT_TARGET_PATH": str(target)})
    assert done.returncode == 1 and done.stderr.endswith("). Let dbt write it again:  bin/dbt build\n")
    done = new_database().run(*command, env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: the warehouse isn't built yet. Run these first:  bin/ingest; bin/dbt build\n"
    assert not (tmp_path / "page.html").exists()


def test_it_explains_itself(built: tuple[Database, dict[str, str]], tmp_path: Path) -> None:
    database, environment = built
    done = database.run("scripts/in_venv.sh", "granary.reports.quality", "--help")
    assert done.returncode == 0 and done.stdout.startswith("Write the quality report")
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "page.html"
    done = database.run("scripts/in_venv.sh", "granary.reports.quality", "--output", place, env=environment)
    assert done.returncode == 1
    assert done.stderr == f"error: can't write {place}: File exists; name another one with --output\n"
