"""What people read of tickets is not decided by one wrong date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import DBT, MODELS_ONLY, Database


@pytest.fixture
def far_ahead(sample: Database, new_database: Callable[..., Database], tmp_path: Path) -> Database:
    """The sample data and an order without an end: 9999-12-31 is what some systems write for it."""
    database = new_database(sample)
    batch = tmp_path / "incremental" / "tickets" / "orders" / "batch_900.csv"
    batch.parent.mkdir(parents=True)
    batch.write_text(
        "order_id,account_id,showtime_id,created_at,total_amount\no_90002,a_0001,s_001,9999-12-31T00:00:00Z,11.00\n"
    )
    for command in (
        ("bin/ingest", "--data-dir", tmp_path),
        (*DBT, "build", "--select", "group:tickets", "tag:ledger", *MODELS_ONLY),
    ):
        done = database.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return database


def test_one_order_far_ahead_leaves_the_summary_as_it_was(sample: Database, far_ahead: Database) -> None:
    def last_weeks(database: Database) -> str:
        done = database.run("scripts/summary.sh")
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("the last 4 weeks\n")[2].partition("\nDocs")[0]

    assert far_ahead.query("select max(sales_week)::text from marts.fct_weekly_sales") == [("9999-12-27",)]
    assert last_weeks(far_ahead) == last_weeks(sample)
    assert len(last_weeks(sample).splitlines()) > 20


def test_it_counts_and_is_listed_with_its_line(far_ahead: Database) -> None:
    sums = "select sum(order_total_usd) - (select sum(gross_sales_usd) from marts.fct_weekly_sales)"
    assert far_ahead.query(f"{sums} from marts.fct_orders") == [(0,)]
    listed = "select file_path, line_number, column_name, kept_value from marts.implausible_values"
    listed += " where feed = 'tickets'"
    assert far_ahead.query(listed) == [
        ("incremental/tickets/orders/batch_900.csv", 2, "created_at", "9999-12-31 00:00:00")
    ]
