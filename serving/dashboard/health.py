"""Data health: how fresh each feed is, what was loaded, what was rejected, and how the builds went."""

from __future__ import annotations

import streamlit as st

from dashboard import queries, shared
from dashboard.queries import Marts
from granary.reports.export import prefix

BUILDS = 20
MEANINGS = {"row": "row: the whole row is left out", "value": "value: only this value is, and is null"}


def show(marts: Marts) -> None:
    """Show the page."""
    st.caption("What was delivered, what became of it, and when. Times are in UTC.")
    bounds = marts.bounds(queries.LOAD_DATES)
    if bounds:
        st.subheader("Freshness by feed")
        st.caption("Of tickets, data reach to the Monday of the newest week.")
        shared.show_table(marts.select(queries.FRESHNESS), "freshness")
        feed = st.selectbox("Feed", marts.select(queries.FEEDS)["feed"], None, key="health_feed", placeholder="All")
        show_rejected(marts, feed)
        show_loads(marts, feed, bounds)
    else:
        shared.show_empty("loads", "bin/ingest")
    show_builds(marts)


def show_rejected(marts: Marts, feed: str | None) -> None:
    """Show what was delivered and is not used."""
    st.subheader("Rejected rows and values")
    severity = st.selectbox(
        "Severity", MEANINGS, None, format_func=MEANINGS.get, key="health_severity", placeholder="All"
    )
    values = {"feed": feed, "severity": severity, "count": shared.MOST_ROWS + 1}
    shared.show_table(marts.select(queries.REJECTED, **values), "rejected_rows")


def show_loads(marts: Marts, feed: str | None, bounds: tuple) -> None:
    """Show the attempts to load a file."""
    st.subheader("Loads")
    chosen = shared.choose_dates(bounds, "health")
    shared.show_table(marts.select(queries.LOADS, feed=feed, count=shared.MOST_ROWS + 1, **chosen), "loads")


def show_builds(marts: Marts) -> None:
    """Show the last builds."""
    st.subheader(f"The last {BUILDS} builds")
    builds = marts.select(queries.BUILDS, prefix=prefix(), count=BUILDS)
    if builds.empty:
        st.info("No build has come to its end yet. Run `bin/dbt build`.")
    else:
        shared.show_table(builds, "builds")
