"""bin/diff between two copies: counts, keys, sums, as text, JSON and a page. Between engines: tests/test_engines.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Database, needs_sample
from granary import declared
from granary.diff import OWN

pytestmark = [needs_sample, pytest.mark.feeds("tickets")]
MARTS = sorted(name for name, mart in declared.marts().items() if mart.grain and name not in OWN)


@pytest.fixture(scope="module")
def database(new_database: Callable, sample: Database) -> Database:
    """The sample with a copy, `other`, whose marts are those of the warehouse but for a few rows."""
    database = new_database(sample)
    database.query("create schema copy_other__raw")
    database.query("""
        create table copy_other__raw._copy as
        select
            jsonb '{"as_of": ""}' as circumstances, 'complete' as state, 1 as last_batch, now() as known_at,
            '' as known, '' as code, null as revision, now() as created_at
    """)
    database.query("create schema copy_other__marts")
    for name in MARTS:
        database.query(f"create table copy_other__marts.{name} as table marts.{name}")
    for change in (
        "update fct_orders set order_total_usd = order_total_usd + 0.01 where order_id = 'o_00001'",
        "update fct_orders set _batch_id = _batch_id + 1 where order_id = 'o_00002'",
        "delete from fct_orders where order_id = 'o_00003'",
        "insert into dim_page_type values ('new', 'unmapped', 'unmapped', false)",
        "update dim_account set email = null where account_id = 'a_0001'",
        "alter table dim_showtime add column note text",
        "alter table fct_transactions alter amount_usd type numeric(30, 3)",
    ):
        words = change.split()
        table = words[words.index(next(word for word in words if word in MARTS))]
        database.query(change.replace(table, f"copy_other__marts.{table}", 1))
    database.query("drop table copy_other__marts.dim_event")
    return database


def test_what_differs_is_counted_by_key_and_summed(database: Database) -> None:
    [(total, email)] = database.query(
        "select order_total_usd, email from marts.fct_orders, marts.dim_account as accounts"
        " where order_id = 'o_00001' and accounts.account_id = 'a_0001'"
    )
    done = database.run("bin/diff", "other")
    assert (done.returncode, done.stderr) == (1, "")
    [(count, before, after)] = database.query("""
        select count(*), sum(order_total_usd), (select sum(order_total_usd) from copy_other__marts.fct_orders)
        from marts.fct_orders
    """)
    for line in (
        f"fct_orders: {count - 2:,} equal, 1 changed, 1 only in warehouse, 0 only in other",
        f"  sum of order_total_usd: {before} in warehouse, {after} in other ({after - before:+,})",
        f"  order_id=o_00001: order_total_usd {total} / {float(total) + 0.01:.2f}",
        "  order_id=o_00003: only in warehouse",
        "  page_type=new: only in other",
        f"  account_id=a_0001: email {email} / None",
        "dim_showtime.note: missing in warehouse, text in other",
        "fct_transactions.amount_usd: numeric(18,2) in warehouse, numeric(30,3) in other",
        "dim_event: not built in other",
        f"{len(MARTS) - 6} of {len(MARTS)} marts equal in warehouse and other",
    ):
        assert f"{line}\n" in done.stdout, (line, done.stdout)


def test_marts_can_be_chosen_and_sides_swapped(database: Database) -> None:
    equal = database.run("bin/diff", "other", "warehouse", "fct_page_views", "fct_weekly_sales")
    assert equal.returncode == 0, equal.stdout + equal.stderr
    assert equal.stdout.endswith("2 of 2 marts equal in other and warehouse\n")
    swapped = database.run("bin/diff", "other", "warehouse", "fct_orders", "--rows", "1")
    assert swapped.returncode == 1
    assert "1 changed, 0 only in other, 1 only in warehouse\n" in swapped.stdout
    assert swapped.stdout.count("\n  order_id=") == 1


def test_programs_and_browsers_can_read_it(database: Database, tmp_path: Path) -> None:
    page = tmp_path / "it's a page.html"
    done = database.run(
        "bin/diff", "other", "fct_orders", "dim_account", "fct_page_views", "--json", "--html", str(page)
    )
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert {name: each["changed"] for name, each in found["marts"].items()} == {
        "fct_orders": 1,
        "dim_account": 1,
        "fct_page_views": 0,
    }
    assert found["marts"]["fct_orders"]["rows"][1] == {
        "key": {"order_id": "o_00003"},
        "only_in": "warehouse",
        "changed": {},
    }
    text = page.read_text()
    assert "1 of 3 marts equal in warehouse and other" in text
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "error: name what to compare with: choose from postgres, duckdb, spark, other; bin/copy create makes "),
        (("nothing",), "error: there is no copy nothing: choose from "),
        (("other", "fct_nothing"), "error: there is no mart fct_nothing: choose from "),
        (("other", "fct_orders", "--html", "/proc/none/page.html"), "choose another place with --html"),
    ],
)
def test_errors_have_a_code_of_their_own(database: Database, arguments: tuple[str, ...], message: str) -> None:
    done = database.run("bin/diff", *arguments)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
