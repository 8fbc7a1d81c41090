"""The committed sample data of tickets, built: its stories end as planned."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from conftest import Database
from generate_data import planted_rows


@pytest.mark.parametrize(
    ("customer_id", "canonical_customer_id"),
    [
        ("c_0001", "c_0002"),  # the same merge, delivered three times
        ("c_0003", "c_0005"),  # the latest decision, delivered first
        ("c_0006", "c_0008"),  # two targets at the same moment: the highest
        ("c_0011", "c_0009"),  # a chain that closes in a later batch
        ("c_0012", "c_0014"),  # a cycle of three: the target of its latest merge
        ("c_0013", "c_0014"),
        ("c_0014", "c_0014"),
        ("c_0015", "c_0014"),  # beside the cycle
        ("c_0016", "c_0016"),  # a self-merge
        ("c_0017", "c_0017"),  # a merge with nobody
        ("c_0018", "c_0018"),  # overridden
        ("c_0031", "c_0032"),  # on no page
    ],
)
def test_customers_are_who_the_stories_say(sample: Database, customer_id: str, canonical_customer_id: str) -> None:
    query = "select canonical_customer_id from intermediate.int_identity__canonical_customers where customer_id = %s"
    assert sample.query(query, [customer_id]) == [(canonical_customer_id,)]
    pages = "select distinct canonical_customer_id from marts.fct_page_views where customer_id = %s"
    assert sample.query(pages, [customer_id]) in ([(canonical_customer_id,)], [])


@pytest.mark.parametrize(
    ("order_id", "week", "event_id", "total"),
    [
        ("o_00008", None, "unknown", None),  # no showtime
        ("o_00022", None, "e_03", None),  # its showtime came a batch later
        ("o_00027", None, "unknown", None),  # its showtime never came
        ("o_00029", None, "e_00", None),  # its showtime came, the event itself never did
        ("o_00016", None, "e_03", None),  # its showtime moved to another event
        ("o_00018", "2025-12-29", "e_02", "62.50"),  # corrected: another week, event and total
        ("o_00019", None, None, "90.00"),  # twice in one file: the later line
        ("o_00020", None, None, "45.00"),  # a correction that can't be read changes nothing
        ("o_00013", "2026-01-12", None, None),  # late on Sunday by its offset, Monday in UTC
        ("o_00014", "2026-01-05", None, None),  # early on Monday by its offset, Sunday in UTC
    ],
)
def test_orders_end_where_the_stories_say(
    sample: Database, order_id: str, week: str | None, event_id: str | None, total: str | None
) -> None:
    query = "select sales_week::text, event_id, order_total_usd from marts.fct_orders where order_id = %s"
    ((actual_week, actual_event, actual_total),) = sample.query(query, [order_id])
    assert week in (None, actual_week)
    assert event_id in (None, actual_event)
    assert total is None or Decimal(total) == actual_total


def test_no_week_is_left_by_an_order_that_moved_away(sample: Database) -> None:
    weekly = "select sales_week, event_id, order_count, gross_sales_usd from marts.fct_weekly_sales"
    summed = "select sales_week, event_id, count(*), sum(order_total_usd) from marts.fct_orders group by 1, 2"
    assert sorted(sample.query(weekly)) == sorted(sample.query(summed))


def test_a_number_can_be_traced_to_its_file_and_line(sample: Database) -> None:
    query = """
        select load_audit.file_path, fct_orders._row_id - load_audit.first_row_id + 1
        from marts.fct_orders
        inner join marts.load_audit on fct_orders._batch_id = load_audit.batch_id
        where fct_orders.order_id = 'o_00018'
    """
    (planted,) = [row for row in planted_rows("tickets") if "o_00018" in row.text and row.batch != "initial"]
    assert sample.query(query) == [(planted.path, planted.line)]


def test_explain_customer_names_each_merge_with_its_line(sample: Database) -> None:
    done = sample.run("bin/dbt", "--quiet", "run-operation", "explain_customer", "--args", "{customer_id: c_0011}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "c_0011 was absorbed by c_0010 on 2026-01-07 10:00:00 (initial/tickets/identity_merges.csv, line 8)",
        "c_0010 was absorbed by c_0009 on 2026-02-04 10:00:00"
        " (incremental/tickets/identity_merges/batch_003.json, line 2)",
        "c_0011 belongs to c_0009.",
    ]


def test_values_that_are_printed_do_nothing_to_the_terminal(
    sample: Database, new_database: Callable[[Database], Database]
) -> None:
    database = new_database(sample)
    database.query(r"update raw._batches set path = path || E'\x1b[2J'")
    database.query(r"update marts.dim_event set event_name = event_name || U&'\202E'")
    explain = database.run("bin/dbt", "--quiet", "run-operation", "explain_customer", "--args", "{customer_id: c_0011}")
    assert r"identity_merges.csv\u001b[2J, line 8)" in explain.stdout
    summary = database.run("scripts/summary.sh")
    assert r"\u202e" in summary.stdout
    for done in (explain, summary):
        assert done.returncode == 0, done.stdout + done.stderr
        assert all(map(str.isprintable, done.stdout.split("\n")))


@pytest.mark.parametrize(
    ("customer_id", "ending"),
    [
        ("c_0003", ["c_0003 was absorbed by c_0005 on", None, "c_0003 belongs to c_0005."]),
        ("c_0004", [None, "c_0004 is its own canonical customer."]),
    ],
)
def test_explain_customer_names_a_merge_that_was_undone(sample: Database, customer_id: str, ending: list) -> None:
    argument = f"{{customer_id: {customer_id}}}"
    done = sample.run("bin/dbt", "--quiet", "run-operation", "explain_customer", "--args", argument)
    assert done.returncode == 0, done.stdout + done.stderr
    earlier, later = (
        next(row for row in planted_rows("tickets") if f"c_0003|{other}" in row.text.replace(" ", ""))
        for other in ("c_0004", "c_0005")
    )
    undone = (
        f"c_0003 was absorbed by c_0004 on 2026-01-05 10:00:00 ({earlier.path}, line {earlier.line}),"
        f" until c_0005 absorbed it on 2026-01-15 10:00:00 ({later.path}, line {later.line})"
    )
    for said, expected in zip(done.stdout.splitlines(), ending, strict=True):
        assert said == undone if expected is None else said.startswith(expected)
