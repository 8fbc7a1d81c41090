"""identity_health says of the customers what the models say that it sums up."""

from __future__ import annotations

import pytest

from conftest import Database


@pytest.mark.parametrize(
    ("column", "query"),
    [
        (
            "customer_count",
            "select count(distinct canonical_customer_id) from intermediate.int_identity__canonical_customers",
        ),
        ("customer_id_count", "select count(*) from intermediate.int_identity__canonical_customers"),
        ("merge_count", "select count(*) from staging.stg_tickets__identity_merges"),
        (
            "ignored_merge_count",
            "select count(*) from staging.stg_tickets__identity_merges"
            " inner join staging.identity_overrides using (from_customer_id, to_customer_id)",
        ),
        ("cycle_count", "select 1"),  # the sample data has one
        ("largest_customer_id_count", "select max(customer_id_count) from marts.dim_customer"),
        ("undone_merge_count", "select 2"),  # of c_0003 and of c_0006
        ("separated_customer_count", "select 4"),
        (
            "separated_sales_usd",
            "select sum(order_total_usd) from marts.fct_orders where account_id in (select account_id"
            " from marts.fct_page_views where canonical_customer_id in ('c_0004', 'c_0005', 'c_0007', 'c_0008'))",
        ),
    ],
)
def test_identity_health_is_that_of_the_warehouse(sample: Database, column: str, query: str) -> None:
    assert sample.query(f"select {column} from marts.identity_health") == sample.query(query)
