"""The quality report on the shop: a build of one feed says so, a failed test shows its rows, and values stay text."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import MODELS_ONLY, NO_LIMITS, ROOT, Database
from test_quality_report import Page, report

EVIL = "<script>alert('rejected')</script>"


@pytest.fixture(scope="module")
def built(
    new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Database, dict[str, str]]:
    """The shop and a batch full of traps: all models are built, then the shop once more with its tests."""
    database, directory = new_database(), tmp_path_factory.mktemp("built")
    for part in ("initial", "incremental"):
        shutil.copytree(ROOT / "data" / part / "shop", directory / "data" / part / "shop")
    (directory / "data" / "incremental" / "shop" / "customers" / "evil.csv").write_text(
        "customer_id,name,email,country,signup_date,loyalty_tier\n"
        f'cu_evil,Eve,"{EVIL}",DE,2026-02-01,gold\n'
        f"cu_evil_2,{EVIL}\n"
        "cu_evil_3,Eva,,DE,2026-02-01,\n"
    )
    environment = {"DBT_TARGET_PATH": str(directory / "target")}
    for command in (
        ("bin/ingest", "--data-dir", directory / "data"),
        ("bin/dbt", "--quiet", "build", *MODELS_ONLY),
        ("bin/dbt", "--quiet", "build", *NO_LIMITS, "--select", "group:shop", "tag:ledger"),
    ):
        done = database.run(*command, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
    return database, environment


@pytest.fixture(scope="module")
def page(built: tuple[Database, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Page:
    """The report on the green build of the shop."""
    return report(built[0], tmp_path_factory.mktemp("page") / "page.html", built[1])


def test_a_build_of_a_part_says_which_part(page: Page) -> None:
    assert page.text("glance.build").startswith("Latest build of group:shop tag:ledger ✓ passed ")
    assert page.text("glance.build").endswith("; it neither built nor tested the rest")
    part = "--select group:shop tag:ledger --exclude rejected_shares_are_below_the_limit"
    assert page.text("glance.tests").endswith(f" passed, of dbt build {part} only")


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
    assert [name for name in page.texts if name.startswith("new.")] == ["new.shop__customers.loyalty_tier"]


def test_rejected_values_are_shown_as_delivered(page: Page) -> None:
    emails = next(text for name, text in page.texts.items() if name.startswith("reject.") and "as email" in text)
    assert re.search(r"initial/shop/customers.csv +\d+ +email +", " ".join(emails.split()))


def test_failed_tests_show_their_rows_and_what_was_not_rebuilt(
    built: tuple[Database, dict[str, str]], tmp_path: Path
) -> None:
    database, environment = built
    target = Path(shutil.copytree(environment["DBT_TARGET_PATH"], tmp_path / "target"))
    environment = {"DBT_TARGET_PATH": str(target)}
    amounts = "line_value_usd = line_value_usd {0} 0.01, net_sales_usd = net_sales_usd {0} 0.01"
    line = f"update marts.fct_order_lines set {amounts}, counts_as = %s where {{1}}"
    first = "ctid = (select min(ctid) from marts.fct_order_lines where counts_as = 'sold')"
    name = "fct_order_lines_net_is_gross_less_discount_and_returns_plus_adjustments"
    try:
        database.query(line.format("-", first), [EVIL])
        tests = ("--select", name, "accepted_values_fct_order_lines*")
        assert database.run("bin/dbt", "--quiet", "test", *tests, env=environment).returncode == 1
        red = report(database, tmp_path / "red.html", environment)
        assert red.text("glance.tests").startswith("Tests ✗ 2 failed ")
        (test,) = [key for key in red.texts if key.startswith(f"test.granary.{name}")]
        (values,) = [key for key in red.texts if key.startswith("test.granary.accepted_values_fct_order_lines")]
        assert re.match(rf"✗ fail {name} [\d.]+ s, 1 row ", red.text(test))
        assert f"Rows that fail it now value_field n_records {EVIL} 1 SQL" in red.text(values)
        assert "<script" not in red.source.lower()

        # The money was skipped, because the test before it failed: the page says so, and does not call it reconciled.
        part = ("--select", name, "money_reconciliation")
        assert database.run("bin/dbt", "--quiet", "build", *part, env=environment).returncode == 1
        red = report(database, tmp_path / "red.html", environment)
        assert "✗ failed" in red.text("glance.build")
        assert "did not rebuild money_reconciliation, because something before it failed" in red.text("money")
        assert red.text("glance.money").startswith("Money ! not checked")
        done = database.run("bin/dbt", "--quiet", "run", "--select", "1+money_reconciliation", env=environment)
        assert done.returncode == 0, done.stdout
        red = report(database, tmp_path / "red.html", environment)
        assert "did not rebuild" not in red.text("money")
        assert red.text("glance.money") == "Money ✗ does not add up Net sales"
        assert "✗ −0.01" in red.text("money.shop.net_sales.7")
    finally:
        database.query(line.format("+", "counts_as = %s"), ["sold", EVIL])


def test_the_money_of_the_shop_is_that_of_its_marts(built: tuple[Database, dict[str, str]], page: Page) -> None:
    assert [(page.number("money.shop.net_sales.12", "usd"),)] == built[0].query(
        "select sum(net_sales_usd) from marts.fct_daily_sales"
    )
    assert page.texts["money.shop.net_sales.12"].split()[-1] == "0.00"
