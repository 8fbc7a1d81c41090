"""Market: closes, averages and returns of chosen assets, and the largest of them."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import queries, shared
from dashboard.queries import Marts

AT_FIRST, AT_MOST = 3, 6


def show(marts: Marts) -> None:
    """Show the page."""
    st.caption("Daily closes, their 7-day average (once there are seven), and daily returns. Each asset has its scale.")
    show_prices(marts)
    show_leaderboard(marts)


def show_prices(marts: Marts) -> None:
    """Show the prices of the assets that are chosen."""
    bounds = marts.bounds(queries.PRICE_DATES)
    if not bounds:
        shared.show_empty("prices", "bin/ingest market")
        return
    chosen = shared.choose_dates(bounds, "market")
    assets = marts.select(queries.ASSETS)
    largest = assets["asset_id"].head(AT_FIRST).tolist()
    asset_ids = shared.choose_names("Assets", assets, "market_assets", default=largest, max_selections=AT_MOST)
    prices = marts.select(queries.PRICES, asset_ids=asset_ids, **chosen)
    for asset_id in asset_ids:
        rows = prices[prices["asset_id"] == asset_id]
        if not rows.empty:
            st.subheader(shared.plain(rows["asset_name"].iloc[0]))
            left, right = st.columns(2)
            with left:
                columns = ("price_date", "close_price_usd", "sma_7d_close")
                shared.draw(shared.day_and_average(rows, *columns, bars=False, form=",.6~r"), height=260)
            with right:
                shared.draw(returns(rows), height=260)
    st.subheader("Prices and returns")
    shared.show_table(prices, "prices")


def returns(rows: pd.DataFrame) -> alt.Chart:
    """Return bars of daily returns: gains in one colour, losses in another."""
    colour = alt.condition(alt.datum.daily_return_pct < 0, alt.value(shared.ORANGE), alt.value(shared.BLUE))
    return (
        alt.Chart(shared.for_chart(rows))
        .mark_bar()
        .encode(
            x=shared.days("price_date"),
            y=shared.amounts("daily_return_pct", "~g"),
            color=colour,
            tooltip=shared.tooltips("price_date", "daily_return_pct"),
        )
    )


def show_leaderboard(marts: Marts) -> None:
    """Show the assets with the largest market cap."""
    leaders = marts.select(queries.LEADERBOARD)
    st.subheader("Leaderboard")
    if leaders.empty:
        shared.show_empty("snapshots of the market", "bin/ingest market")
    else:
        shared.show_table(leaders, "leaderboard")
