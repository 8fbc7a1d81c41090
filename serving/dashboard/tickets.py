"""Tickets: what each event sells per week."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import queries, shared
from dashboard.queries import Marts

MEASURES = ["gross_sales_usd", "collected_usd", "order_count"]


def show(marts: Marts) -> None:
    """Show the page."""
    st.caption("Sales per Monday week and event. Orders without a known event are under “unknown”.")
    bounds = marts.bounds(queries.SALES_WEEKS)
    if not bounds:
        shared.show_empty("ticket sales", "bin/ingest tickets")
        return
    chosen = shared.choose_dates(bounds, "tickets")
    event_ids = shared.choose_names("Events", marts.select(queries.EVENTS), "tickets_events", placeholder="All")
    measure = st.radio("Chart", MEASURES, format_func=shared.label, horizontal=True, key="tickets_measure")
    sales = marts.select(queries.WEEKLY_SALES, event_ids=event_ids, **chosen)
    if not sales.empty:
        st.subheader("Sales by week and event")
        shared.draw(weeks_by_event(sales, measure), height=440)
    shared.show_table(sales, "weekly_sales")


def weeks_by_event(sales: pd.DataFrame, measure: str) -> alt.Chart:
    """Return stacked bars: a bar is a week, a colour an event."""
    sales = sales.assign(event_name=shared.own_names(sales, "event_id", "event_name"))
    names = sales["event_name"].drop_duplicates().tolist()
    scale = alt.Scale(domain=sorted(names), range=shared.COLOURS)
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=250)
    axis = alt.Axis(format="%d %b %Y", labelAngle=0, labelOverlap=True)
    return (
        alt.Chart(shared.for_chart(sales))
        .mark_bar()
        .encode(
            x=alt.X("yearmonthdate(sales_week):O", title=shared.label("sales_week"), axis=axis),
            y=shared.amounts(measure),
            color=alt.Color("event_name:N", scale=scale, legend=legend),
            tooltip=shared.tooltips("sales_week", "event_name", *MEASURES),
        )
    )
