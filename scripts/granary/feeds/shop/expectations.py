"""What is expected of the shop's raw tables beyond what their source declares: see granary.reports.expected."""

from __future__ import annotations

from collections.abc import Mapping

from great_expectations import expectations as gxe
from great_expectations.expectations.expectation import Expectation

from granary.reports.expected import CRITICAL, WARNING, between, no_values, once_per_file, unknown

COMPUTED: Mapping[str, Mapping[str, str]] = {
    "orders": {
        # What is taken off a line that is worth nothing is far more than the line.
        "discount_share": """discount_read / case
            when discount ~ '%' then 1
            when quantity_read * unit_price_read = 0 then 0.000001
            else round(abs(quantity_read * unit_price_read), 2)
        end""",
        "unknown_customer_id": unknown("customer_id", "shop__customers"),
        "unknown_product_id": unknown("product_id", "shop__products"),
    },
}

EXPECTATIONS: Mapping[str, list[Expectation]] = {
    "customers": [
        gxe.ExpectColumnValueLengthsToEqual(column="country_read", value=2, description="has two letters", **WARNING),
        once_per_file("customer_id"),
    ],
    "products": [
        between("unit_price_read", 0, 100_000, "is from 0 to 100,000 USD", WARNING),
        between("unit_cost_read", 0, 100_000, "is from 0 to 100,000 USD", WARNING),
        gxe.ExpectColumnPairValuesAToBeGreaterThanB(
            column_A="unit_price_read",
            column_B="unit_cost_read",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
            description="do not sell below cost",
            **WARNING,
        ),
        once_per_file("product_id"),
    ],
    "orders": [
        between("quantity_read", -1e9, 1e9, "is from -1,000,000,000 to 1,000,000,000", CRITICAL),
        gxe.ExpectColumnValuesToNotBeInSet(column="quantity_read", value_set=[0], description="is not 0", **CRITICAL),
        between("unit_price_read", -1e9, 1e9, "is from -1,000,000,000 to 1,000,000,000 USD", CRITICAL),
        between("discount_read", 0, None, "is not negative", CRITICAL),
        between("discount_share", None, 1, "is no more than the line", CRITICAL),
        between("order_date_read", "2000-01-01", None, "is from 2000 on", WARNING),
        no_values("unknown_customer_id", "customer_id", "is a customer who was delivered", WARNING),
        no_values("unknown_product_id", "product_id", "is a product that was delivered", WARNING),
    ],
}
