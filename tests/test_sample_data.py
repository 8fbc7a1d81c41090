"""The committed sample data, loaded and built: every planted mess ends as its story says."""

from collections.abc import Callable
from decimal import Decimal

import pytest

from conftest import Database
from generate_data import FEEDS, planted_rows
from granary.text import snake_case

pytestmark = pytest.mark.feeds("courses", "market", "shop", "tickets")


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Database:
    database = new_database()
    for command in (("bin/ingest",), ("bin/dbt", "--quiet", "build")):
        done = database.run(*command)
        assert done.returncode == 0, done.stdout + done.stderr
    return database


def test_rejected_rows_are_just_the_planted_ones(warehouse: Database) -> None:
    expected = set()
    for planted in [row for feed in FEEDS for row in planted_rows(feed)]:
        fate, _, columns = planted.fate.partition(" ")
        if fate == "line":
            expected.add(("row", planted.path, planted.line, None))
        elif fate in ("row", "value"):
            names = map(snake_case, columns.split(", "))  # the table has them as delivered
            expected |= {(fate, planted.path, planted.line, name) for name in names}
    rejected = warehouse.query("select severity, file_path, line_number, column_name from marts.rejected_rows")
    assert len(rejected) == len(set(rejected))
    assert set(rejected) == expected
    assert {severity for severity, *_ in expected} == {"row", "value"}


def test_a_rejection_has_a_code_and_a_sentence(warehouse: Database) -> None:
    query = """
        select reason, min(explanation), max(explanation)
        from marts.rejected_rows
        where (column_name is null) = %s
        group by reason
        order by reason
    """
    lines, values = warehouse.query(query, [True]), warehouse.query(query, [False])
    assert [code for code, *_ in lines] == ["not_json", "ragged", "unclosed_quote"]
    assert [code for code, *_ in values] == ["invalid", "missing_required", "unreadable"]
    assert values[1][1:] == ("required, but missing", "required, but missing")
    assert values[2][1:] == ("cannot be read as amount", "cannot be read as timestamp")


def test_batches_read_what_they_loaded_or_rejected(warehouse: Database) -> None:
    odd = "select * from raw._batches where rows_read <> rows_loaded + rows_rejected or status <> 'loaded'"
    assert warehouse.query(odd) == []
    (totals,) = warehouse.query("select sum(rows_loaded), sum(rows_rejected) from raw._batches")
    raw = warehouse.query(
        "select sum(rows_loaded_count), sum(rows_rejected_count + rows_staged_count) from marts.load_audit"
    )
    assert totals[1] == 13
    assert raw == [(totals[0], totals[0])]


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
def test_customers_are_who_the_stories_say(warehouse: Database, customer_id: str, canonical_customer_id: str) -> None:
    query = "select canonical_customer_id from intermediate.int_identity__canonical_customers where customer_id = %s"
    assert warehouse.query(query, [customer_id]) == [(canonical_customer_id,)]
    pages = "select distinct canonical_customer_id from marts.fct_page_views where customer_id = %s"
    assert warehouse.query(pages, [customer_id]) in ([(canonical_customer_id,)], [])


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
    warehouse: Database, order_id: str, week: str | None, event_id: str | None, total: str | None
) -> None:
    query = "select sales_week::text, event_id, order_total_usd from marts.fct_orders where order_id = %s"
    ((actual_week, actual_event, actual_total),) = warehouse.query(query, [order_id])
    assert week in (None, actual_week)
    assert event_id in (None, actual_event)
    assert total is None or Decimal(total) == actual_total


def test_no_week_is_left_by_an_order_that_moved_away(warehouse: Database) -> None:
    weekly = "select sales_week, event_id, order_count, gross_sales_usd from marts.fct_weekly_sales"
    summed = "select sales_week, event_id, count(*), sum(order_total_usd) from marts.fct_orders group by 1, 2"
    assert sorted(warehouse.query(weekly)) == sorted(warehouse.query(summed))


def test_a_number_can_be_traced_to_its_file_and_line(warehouse: Database) -> None:
    query = """
        select load_audit.file_path, fct_orders._row_id - load_audit.first_row_id + 1
        from marts.fct_orders
        inner join marts.load_audit on fct_orders._batch_id = load_audit.batch_id
        where fct_orders.order_id = 'o_00018'
    """
    (planted,) = [row for row in planted_rows("tickets") if "o_00018" in row.text and row.batch != "initial"]
    assert warehouse.query(query) == [(planted.path, planted.line)]


def test_explain_customer_names_each_merge_with_its_line(warehouse: Database) -> None:
    done = warehouse.run("bin/dbt", "--quiet", "run-operation", "explain_customer", "--args", "{customer_id: c_0011}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "c_0011 was absorbed by c_0010 on 2026-01-07 10:00:00 (initial/tickets/identity_merges.csv, line 8)",
        "c_0010 was absorbed by c_0009 on 2026-02-04 10:00:00"
        " (incremental/tickets/identity_merges/batch_003.json, line 2)",
        "c_0011 belongs to c_0009.",
    ]


def test_column_comments_reach_the_database(warehouse: Database) -> None:
    mart = "'marts.fct_weekly_sales'::regclass"
    query = f"select col_description({mart}, 1), obj_description({mart})"
    ((column, table),) = warehouse.query(query)
    assert column.startswith("Monday of the week")
    assert table.startswith("One row per week and event")
