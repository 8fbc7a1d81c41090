"""What the pages share: labels with units, filters, tables with their download, charts."""

from __future__ import annotations

import csv
import datetime
import io
import re
from decimal import Decimal
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

WEEKS = 8
MOST_ROWS = 1000
BLUE, ORANGE, PALE = "#1f5a96", "#c2571a", "#b9cde2"
COLOURS = [BLUE, ORANGE, "#3d8b5a", "#c98b2b", "#7a5195", "#5b8fb9", "#a23b52", "#6b7280"]

# What a mart calls a column, what people read, and how its values are written.
USD, PRICE, COUNT, PCT, DATE, TIME = "%,.2f", "%,.10g", "%,d", "%,.2f", "YYYY-MM-DD", "YYYY-MM-DD HH:mm"
COLUMNS = {
    "active_learners": ("active learners", COUNT),
    "asset_id": ("asset id", None),
    "asset_name": ("asset", None),
    "average_order_usd": ("average order (USD)", USD),
    "batch_id": ("batch", "%d"),
    "buyer_count": ("buyers", COUNT),
    "category_name": ("category", None),
    "change_24h_pct": ("change in 24 h (%)", PCT),
    "close_price_usd": ("close (USD)", PRICE),
    "collected_usd": ("collected (USD)", USD),
    "column_name": ("column", None),
    "country_code": ("country", None),
    "course_id": ("course id", None),
    "course_title": ("course", None),
    "customer_count": ("customers", COUNT),
    "customer_id": ("customer id", None),
    "customer_name": ("customer", None),
    "daily_return_pct": ("daily return (%)", PCT),
    "delivered_value": ("delivered value", None),
    "discount_usd": ("discounts (USD)", USD),
    "distance_from_ath_pct": ("against all-time high (%)", PCT),
    "engagement_rate": ("engagement (active / learners)", "percent"),
    "error_count": ("errors", COUNT),
    "event_id": ("event id", None),
    "event_name": ("event", None),
    "file_count": ("files", COUNT),
    "file_path": ("file", None),
    "finished_at": ("finished (UTC)", TIME),
    "first_activity": ("first activity (UTC)", TIME),
    "gross_sales_usd": ("gross sales (USD)", USD),
    "is_full_refresh": ("full refresh", None),
    "last_activity": ("last activity (UTC)", TIME),
    "last_loaded_at": ("last load (UTC)", TIME),
    "last_order_date": ("last order", DATE),
    "last_sale_date": ("last sale", DATE),
    "leaderboard_rank": ("rank", "%d"),
    "learners": ("learners", COUNT),
    "line_number": ("line", "%d"),
    "lines_rejected_count": ("lines rejected", COUNT),
    "margin_pct": ("margin (%)", PCT),
    "margin_usd": ("margin (USD)", USD),
    "market_cap_usd": ("market cap (USD)", "%,.0f"),
    "market_dominance_pct": ("share of market (%)", PCT),
    "models_built_count": ("models built", COUNT),
    "net_revenue_usd": ("net revenue (USD)", USD),
    "net_sales_7d_avg_usd": ("7-day average (USD)", USD),
    "net_sales_usd": ("net sales (USD)", USD),
    "newest_date": ("data until", DATE),
    "order_count": ("orders", COUNT),
    "predicted_12_month_value_usd": ("predicted 12 months (USD)", USD),
    "price_date": ("day (UTC)", DATE),
    "price_usd": ("price (USD)", PRICE),
    "product_id": ("product id", None),
    "product_name": ("product", None),
    "returned_units": ("units returned", COUNT),
    "returns_usd": ("returns (USD)", USD),
    "revenue_rank": ("rank", "%d"),
    "rfm_segment": ("segment", None),
    "rows_loaded_count": ("rows loaded", COUNT),
    "rows_quarantined_count": ("rows rejected", COUNT),
    "rows_read_count": ("rows read", COUNT),
    "sales_date": ("day", DATE),
    "sales_week": ("week of (Monday)", DATE),
    "selection": ("selected", None),
    "session_count": ("sessions", COUNT),
    "share_of_revenue_pct": ("share of revenue (%)", PCT),
    "sma_7d_close": ("7-day average (USD)", PRICE),
    "snapshot_at": ("as of (UTC)", TIME),
    "started_at": ("started (UTC)", TIME),
    "tests_failed_count": ("tests failed", COUNT),
    "tests_passed_count": ("tests passed", COUNT),
    "tests_warned_count": ("tests warned", COUNT),
    "total_events": ("events", COUNT),
    "total_quizzes_completed": ("quizzes completed", COUNT),
    "total_videos_completed": ("videos completed", COUNT),
    "total_volume_usd": ("volume in 24 h (USD)", "%,.0f"),
    "units": ("units", COUNT),
    "values_rejected_count": ("values rejected", COUNT),
}


def label(column: str) -> str:
    """Return what people read above a column, with its unit."""
    return COLUMNS.get(column, (column.replace("_", " "), None))[0]


def plain(text: str) -> str:
    """Return text that was delivered, so that a heading shows it as it is: Streamlit would read it as Markdown."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", text)


def own_names(rows: pd.DataFrame, id_column: str, name_column: str) -> list[str]:
    """Return the name of each row, with its id where another id has the same name."""
    ids = rows.groupby(name_column)[id_column].nunique()
    pairs = zip(rows[id_column], rows[name_column], strict=True)
    return [f"{name} ({id_})" if ids[name] > 1 else name for id_, name in pairs]


# -- Filters -----------------------------------------------------------------------------------------------------------


def choose_dates(bounds: tuple[datetime.date, datetime.date], key: str) -> dict[str, datetime.date]:
    """Let the user choose the first and the last date; at first, the last weeks of the data."""
    first, last = bounds
    start = max(first, last - datetime.timedelta(weeks=WEEKS) + datetime.timedelta(days=1))
    limits = {"min_value": first, "max_value": last, "format": "YYYY-MM-DD"}
    left, right = st.columns(2)
    chosen = {
        "first": left.date_input("From", start, key=f"{key}_from", **limits),
        "last": right.date_input("To", last, key=f"{key}_to", **limits),
    }
    if chosen["first"] > chosen["last"]:
        st.warning(f"{chosen['first']} is after {chosen['last']}: choose an earlier first day.")
    return chosen


def choose_names(question: str, rows: pd.DataFrame, key: str, **kwargs: Any) -> list[str]:
    """Let the user choose rows by their name, which is the second column; return their ids, the first one."""
    names = dict(zip(rows.iloc[:, 0], own_names(rows, *rows.columns[:2]), strict=True))
    return st.multiselect(question, list(names), format_func=lambda id_: names.get(id_, id_), key=key, **kwargs)


# -- Tables ------------------------------------------------------------------------------------------------------------


def show_empty(what: str, command: str) -> None:
    """Say that there is nothing yet, and what to run."""
    st.info(f"There are no {what} yet. Run `{command}`, then `bin/dbt build`.")


def show_table(rows: pd.DataFrame, name: str) -> None:
    """Show a table, and a button for the same rows as CSV."""
    if rows.empty:
        st.info("Nothing fits these filters.")
        return
    if cut := len(rows) > MOST_ROWS:
        rows = rows.head(MOST_ROWS)
    columns = {column: column_config(column) for column in rows.columns}
    st.dataframe(rows, hide_index=True, column_config=columns, placeholder="")
    if cut:
        st.caption(f"The first {MOST_ROWS:,} rows; `bin/report` writes all of a mart to a file.")
    text = as_csv(rows)
    st.download_button("Download CSV", text, f"{name}.csv", "text/csv", key=f"{name}_csv", on_click="ignore")


def column_config(column: str) -> Any:
    """Return how Streamlit is to show a column."""
    form = COLUMNS.get(column, ("", None))[1]
    if form is None:
        return st.column_config.Column(label(column))
    if form == DATE:
        return st.column_config.DateColumn(label(column), format=form)
    if form == TIME:
        return st.column_config.DatetimeColumn(label(column), format=form, timezone="UTC")
    width = "medium" if form == PRICE else None
    return st.column_config.NumberColumn(label(column), format=form, width=width)


def as_csv(rows: pd.DataFrame) -> bytes:
    """Return rows as CSV, under the marts' names of the columns: numbers with all their digits, null is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(rows.columns)
    writer.writerows([map(as_text, row) for row in rows.itertuples(index=False)])
    return text.getvalue().encode()


def as_text(value: Any) -> str:
    """Return a value as bin/report writes it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


# -- Charts ------------------------------------------------------------------------------------------------------------


def for_chart(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows as charts need them: dates as times, numbers as floats, which is exact enough to draw."""
    drawn = rows.copy()
    for column in drawn.columns:
        if COLUMNS.get(column, ("", None))[1] in (DATE, TIME):
            drawn[column] = pd.to_datetime(drawn[column])
        elif COLUMNS.get(column, ("", None))[1]:
            drawn[column] = drawn[column].astype(float)
    return drawn


def days(column: str) -> alt.X:
    """Return the axis of days, with the year below where it begins."""
    year = "timeFormat(datum.value, '%d %b') + (datum.index == 0 ? '|' + timeFormat(datum.value, '%Y') : '')"
    axis = alt.Axis(labelExpr=f"split({year}, '|')", tickCount=8, labelOverlap=True, grid=False)
    return alt.X(f"{column}:T", title=label(column), axis=axis)


def amounts(column: str, form: str = ",.0f", **kwargs: Any) -> alt.Y:
    """Return the axis of amounts."""
    return alt.Y(f"{column}:Q", title=label(column), axis=alt.Axis(format=form, tickCount=6), **kwargs)


def tooltips(*columns: str) -> list[alt.Tooltip]:
    """Return what is shown beside the pointer."""
    forms = {USD: ",.2f", PRICE: ",.10~g", COUNT: ",d", DATE: "%Y-%m-%d", "percent": ".1%"}
    kinds = {column: COLUMNS.get(column, ("", None))[1] for column in columns}
    return [
        alt.Tooltip(
            f"{column}:{'N' if not kind else 'T' if kind == DATE else 'Q'}",
            title=label(column),
            format=forms.get(kind, ""),
        )
        for column, kind in kinds.items()
    ]


def draw(chart: Any, height: int = 320) -> None:
    """Show a chart."""
    st.altair_chart(chart.properties(height=height), width="stretch")


def day_and_average(rows: pd.DataFrame, date: str, value: str, average: str, *, bars: bool, form: str) -> Any:
    """Return a chart of a value by day, and of its average as a line; the legend says which is which."""
    names = {value: label(value), average: label(average)}
    scale = alt.Scale(domain=list(names.values()), range=[PALE if bars else BLUE, BLUE if bars else ORANGE])
    colour = alt.Color("what:N", scale=scale, legend=alt.Legend(orient="top", title=None))
    base = alt.Chart(for_chart(rows)).encode(x=days(date), tooltip=tooltips(date, value, average))
    axis = amounts(value, form, scale=alt.Scale(zero=bars))
    first = base.mark_bar() if bars else base.mark_line(strokeWidth=1)
    return alt.layer(
        first.transform_calculate(what=f"'{names[value]}'").encode(y=axis, color=colour),
        base.mark_line(strokeWidth=2)
        .transform_calculate(what=f"'{names[average]}'")
        .encode(y=alt.Y(f"{average}:Q"), color=colour),
    )
