"""Rejected rows are a queue with limits: what a build refuses, and how a rejection is healed, accepted or replayed."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import Database, scratch_directory
from own_feed import HEADER, copy_with_own_feed

LEDGER = ("--select", "group:bar", "tag:ledger")
REJECTED = (
    "select line_number, column_name, state, healed_by_batch_id from marts.rejected_rows order by _batch_id, 1, 2"
)


class Warehouse:
    """A copy of the project with one feed of its own, its landing folder, and a database."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database, self.landing = root / "a copy", database, root / "data"
        self.environment = {"DBT_TARGET_PATH": str(root / "target"), "GRANARY_DATA": str(self.landing)}
        copy_with_own_feed(self.root, self.succeed)
        self.deliver("first", "s1,10.00,2026-02-01,fine", "s2,20.00,2026-02-02,fine")

    @property
    def models(self) -> Path:
        return self.root / "dbt" / "models"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return self.database.run(*command, root=self.root, env=self.environment)

    def succeed(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deliver(self, name: str, *lines: str) -> str:
        """Load a file and return what bin/ingest printed."""
        path = self.landing / "incremental" / "bar" / "sales" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEADER, *lines]) + "\n")
        return self.succeed("bin/ingest", f"bar/sales/{name}")

    def build(self, *arguments: str) -> str:
        """Build everything, and test the data; return what was printed."""
        return self.succeed("bin/dbt", "--bar", "build", "--exclude-resource-type", "unit_test", *arguments)

    def fails(self, *arguments: str) -> str:
        """Build everything, which must fail, and return what was printed."""
        done = self.run("bin/dbt", "--bar", "build", "--exclude-resource-type", "unit_test", *arguments)
        assert done.returncode == 1 or done.returncode == 2, done.stdout
        return done.stdout + done.stderr

    def declare(self, old: str, new: str) -> None:
        """Change the source's declaration."""
        path = self.models / "staging/bar/_bar__sources.yml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def warehouse(new_database: Callable[[], Database]) -> Iterator[Warehouse]:
    """A copy of the project with the feed bar, and a first batch."""
    with scratch_directory() as directory:
        yield Warehouse(directory, new_database())


def sales(n: int, price: str = "5.00", day: str = "2026-02-03", first: int = 100) -> list[str]:
    """Return n lines of sales."""
    return [f"s{first + i},{price},{day},fine" for i in range(n)]


def test_a_batch_without_a_usable_row_fails_the_build_until_it_is_accepted(warehouse: Warehouse) -> None:
    warehouse.deliver("times", *sales(3, day="the third"))
    finding = (
        r"bar/sales/times.csv: 3 of 3 rows rejected \(100\.0 %\), most often because sold_on cannot be read as date"
        r" \(3 times, first on line 2: the third\)"
    )
    printed = warehouse.fails(*LEDGER)
    assert re.search(f"error: incremental/{finding}", printed)
    assert "bin/ingest --accept" in printed
    assert "accepted batch 2" in warehouse.succeed("bin/ingest", "--accept", "2", "--why", "a trial of the shop's")
    again = warehouse.run("bin/ingest", "--accept", "2", "--why", "another reason")
    assert (again.returncode, again.stderr) == (1, "error: batch 2 is accepted already: a trial of the shop's\n")
    assert "all passed" in warehouse.build(*LEDGER)
    assert warehouse.database.query("select distinct state from marts.rejected_rows") == [("accepted",)]
    warehouse.succeed("scripts/in_venv.sh", "granary.reports.quality")
    report = (warehouse.root / "output" / "quality_report.html").read_text()
    assert "a trial of the shop&#39;s" in report
    assert "<b>0 open</b>" in report


def test_the_limits_of_a_batch(warehouse: Warehouse) -> None:
    for name, *lines in (
        ("one_percent", *sales(99), "s1,,2026-02-03,fine"),
        ("two_percent", *sales(98), "s1,,2026-02-03,fine", "s2,,2026-02-03,fine"),
        ("a_fifth", *sales(80), *sales(20, price="?", first=200)),
        ("above_a_fifth", *sales(79), *sales(21, price="?", first=200)),
        ("lines", *sales(79), *["too,few"] * 21),  # the loader rejects them
        ("money", *sales(99), "s1,-1000.00,never,fine"),  # one row, with most of the money
        ("values", *sales(97), *sales(3, price="?", first=200)),
    ):
        warehouse.deliver(name, *lines)
    printed = warehouse.fails(*LEDGER)
    query = (
        "select regexp_replace(file_path, '.*/|[.]csv', '', 'g') || ' ' || measured, verdict from marts.rejected_shares"
    )
    assert dict(warehouse.database.query(query)) == {
        "one_percent rows": "pass",
        "one_percent column price": "pass",
        "two_percent rows": "warn",
        "two_percent column price": "warn",
        "a_fifth rows": "warn",
        "a_fifth column price": "warn",
        "above_a_fifth rows": "fail",
        "above_a_fifth column price": "fail",
        "lines rows": "fail",
        "money rows": "pass",
        "money amount paid": "fail",
        "values rows": "warn",
        "values column price": "warn",
    }
    assert "error: incremental/bar/sales/money.csv: amount paid: 1000 of 1495 USD rejected (66.9 %)" in printed
    assert "warning: incremental/bar/sales/values.csv: column price: 3 of 100 values rejected (3.0 %)" in printed


def test_a_source_declares_its_limits(warehouse: Warehouse) -> None:
    warehouse.deliver("second", *sales(7), *sales(3, price="?", first=200))
    warehouse.declare("current_version:", "reject_limits: {fail_above: 0.5}\n            current_version:")
    assert "warning: incremental/bar/sales/second.csv: 3 of 10 rows" in warehouse.build(*LEDGER)
    assert "2 lines rejected (66.7%; above 50%, the build fails)" in warehouse.deliver(
        "third", "s9,1", "s9,2", *sales(1)
    )
    warehouse.declare("fail_above: 0.5", "fail_above: half")
    printed = warehouse.fails(*LEDGER)
    assert (
        "models/staging/bar/_bar__sources.yml: table sales: `reject_limits` has `fail_above: half`: it takes" in printed
    )


def test_what_a_later_batch_healed_no_longer_counts_against_the_limits(warehouse: Warehouse) -> None:
    warehouse.deliver("second", *sales(6), *sales(3, price="?", first=200), *sales(1, day="?", first=300))
    printed = warehouse.fails(*LEDGER)
    assert (
        "4 of 10 rows rejected (40.0 %), most often because price cannot be read as amount (3 times, first on"
        in printed
    )
    warehouse.deliver("third", *sales(3, first=200))
    printed = warehouse.build(*LEDGER)
    assert "1 of 10 rows rejected (10.0 %), most often because sold_on cannot be read as date (on line 11" in printed
    assert "amount paid: 5 of 35 USD rejected (14.3 %)" in printed
    warehouse.deliver("fourth", *sales(1, first=300))
    assert "warning: incremental" not in warehouse.build(*LEDGER)
    assert warehouse.database.query("select count(*) from marts.rejected_shares") == [(0,)]


def test_later_batches_heal_what_was_rejected_and_a_full_refresh_agrees(warehouse: Warehouse) -> None:
    many = sales(30)
    warehouse.deliver("second", *many, "s3,abc,2026-02-03,fine", "s4,1.00,2026-02-03,much too long", "s2,x,2026-02-03,")
    warehouse.build(*LEDGER)
    assert warehouse.database.query(REJECTED) == [
        (32, "price", "open", None),
        (33, "note", "open", None),
        (34, "price", "open", None),
    ]
    warehouse.deliver("third", *sales(30, first=300), "s3,3.00,2026-02-03,fine", "s4,1.00,2026-02-03,too long as well")
    warehouse.build(*LEDGER)
    assert warehouse.database.query(REJECTED) == [
        (32, "price", "healed", 3),
        (33, "note", "open", None),
        (34, "price", "open", None),
        (33, "note", "open", None),
    ]
    warehouse.deliver("fourth", "s4,1.00,2026-02-03,short", "s3,4.00,2026-02-03,fine", "s5,?,2026-02-03,fine",
                      "s5,5.00,2026-02-03,fine", *sales(30, first=400))  # fmt: skip
    warehouse.build(*LEDGER)
    healed = warehouse.database.query(REJECTED)
    assert healed == [
        (32, "price", "healed", 3),
        (33, "note", "healed", 4),
        (34, "price", "open", None),
        (33, "note", "healed", 4),
        (4, "price", "open", None),  # the other row of the same file is another row
    ]
    warehouse.build("--full-refresh")
    assert warehouse.database.query(REJECTED) == healed


def test_changed_rules_ask_for_what_they_touch_and_replay_what_was_rejected(warehouse: Warehouse) -> None:
    warehouse.deliver(
        "second", *sales(30), "s3,3.00,2026-02-03,much too long", "s4,4.00,2026-02-03,by far too long for it"
    )
    warehouse.build(*LEDGER)
    warehouse.declare("length({note}) < 9", "length({note}) < 15")
    printed = warehouse.fails(*LEDGER)
    assert "The rules by which bar.sales is read changed after" in printed
    assert "2 batches (34 rows, batches 1 to 2) have to be read again" in printed
    command = re.search("bin/dbt build (--full-refresh --select source:bar.sales[+])", printed)
    assert command
    assert warehouse.database.query(REJECTED) == [(32, "note", "open", None), (33, "note", "open", None)]
    warehouse.build(*command[1].split())
    assert warehouse.database.query(REJECTED) == [(32, "note", "replayed", None), (33, "note", "open", None)]
    assert warehouse.database.query("select note from marts.fct_bar_sales where sale_id = 's3'") == [("much too long",)]
    assert "all passed" in warehouse.build(*LEDGER)
    warehouse.declare("length({note}) < 15", "length({note}) < 9")
    warehouse.fails(*LEDGER)
    warehouse.build("--full-refresh")
    assert warehouse.database.query(REJECTED) == [(32, "note", "open", None), (33, "note", "open", None)]


def test_an_amount_that_is_declared_otherwise_asks_for_new_sums(warehouse: Warehouse) -> None:
    """The sums of a batch are kept: those of the old batches would be of another amount than those of new ones."""
    sums = (
        "select step_name, cast(amount_usd as int), cast(difference_usd as int) from marts.money_reconciliation"
        " order by step_number"
    )
    warehouse.deliver("second", *sales(3))
    warehouse.build()
    before = warehouse.database.query(sums)
    assert before[0][1] > 0
    assert not any(difference for *_, difference in before)
    warehouse.declare('delivered: "{price}"', 'delivered: "{price} * 2"')
    warehouse.declare('staged: "{price}"', 'staged: "{price} * 2"')
    warehouse.declare("amount: sum(price)", "amount: sum(price * 2)")
    printed = warehouse.fails()
    assert "The rules by which bar.sales is read changed after" in printed
    command = re.search("bin/dbt build (--full-refresh --select source:bar.sales[+])", printed)
    assert command
    warehouse.build(*command[1].split())
    assert warehouse.database.query(sums) == [(name, amount * 2, difference) for name, amount, difference in before]


def test_a_view_that_was_not_rebuilt_does_not_pass_for_one_with_the_new_rules(warehouse: Warehouse) -> None:
    warehouse.build(*LEDGER)
    warehouse.declare("length({note}) < 9", "length({note}) < 15")
    warehouse.build("--full-refresh", "--select", "int_bar__sales")  # stg_bar__sales still has the old ones
    assert "The rules by which bar.sales is read changed after" in warehouse.fails("--select", "int_bar__sales")


def test_a_model_of_a_version_without_rules_is_rebuilt_once(warehouse: Warehouse) -> None:
    warehouse.build(*LEDGER)
    warehouse.database.query("drop table intermediate._rules")
    assert "int_bar__sales was built by an earlier version" in warehouse.fails("--select", "int_bar__sales")
    warehouse.build("--full-refresh", *LEDGER)
    assert "all passed" in warehouse.build(*LEDGER)
