"""Shop: sales by day, the best customers, the best products."""

from __future__ import annotations

import streamlit as st

from dashboard import queries, shared
from dashboard.queries import Marts

COUNTS = [10, 25, 100]


def show(marts: Marts) -> None:
    """Show the page."""
    st.caption("Net sales are gross sales less discounts and returns: a day on which more came back is below zero.")
    bounds = marts.bounds(queries.SALES_DATES)
    if not bounds:
        shared.show_empty("sales of the shop", "bin/ingest shop")
        return
    sales = marts.select(queries.DAILY_SALES, **shared.choose_dates(bounds, "shop"))
    st.subheader("Sales by day")
    if not sales.empty:
        columns = ("sales_date", "net_sales_usd", "net_sales_7d_avg_usd")
        shared.draw(shared.day_and_average(sales, *columns, bars=True, form=",.0f"))
    shared.show_table(sales, "daily_sales")
    st.subheader("Top customers")
    st.caption("Customers and products by net revenue, over all time.")
    count = st.segmented_control("How many", COUNTS, default=COUNTS[0], required=True, key="shop_count")
    shared.show_table(marts.select(queries.CUSTOMERS, count=count), "top_customers")
    st.subheader("Top products")
    shared.show_table(marts.select(queries.PRODUCTS, count=count), "top_products")
