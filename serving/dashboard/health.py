"""Data health: how fresh each feed is; below that, the core's own marts show rejected rows, loads and builds."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Mapping

import streamlit as st
from psycopg2 import sql

from dashboard import page
from dashboard.marts import Marts, table
from dashboard.sections import last_day
from granary import declared
from granary.declared import Column, Mart
from granary.project import GranaryError, schema_prefix

FRESHNESS = """
    select
        feed, max(finished_at) as last_loaded_at, count(batch_id) as file_count,
        sum(rows_read_count) as rows_read_count, sum(rows_loaded_count) as rows_loaded_count,
        sum(lines_rejected_count) as lines_rejected_count, sum(rows_rejected_count) as rows_rejected_count,
        sum(values_rejected_count) as values_rejected_count
    from unnest(cast(%s as text[])) as feeds (feed)
    full join (select * from {load_audit} where status = 'loaded') as loads using (feed)
    group by feed
    order by feed
"""
OPEN = "select feed, count(*) from {rejected_rows} where state = 'open' group by feed"
TYPES = {"feed": "text", "data_until": "date", "last_loaded_at": "timestamp"}  # the others are counts


def show(marts: Marts, shown: list[Mart], all_marts: Mapping[str, Mart]) -> None:
    """Show the page: the freshness of all feeds, then the core's marts."""
    st.caption("What was delivered, what became of it, and when. Times are in UTC.")
    if declared.feeds():
        show_freshness(marts, all_marts)
    else:
        st.info("There are no feeds yet. How to add one: docs/your-own-feed.md")
    for mart in shown:
        # Builds of all copies are written down in one place: show those of this copy.
        is_shared = any(column.name == "schema_prefix" for column in mart.columns)
        page.show_mart(marts, mart, all_marts, **({"schema_prefix": [schema_prefix()]} if is_shared else {}))


def show_freshness(marts: Marts, all_marts: Mapping[str, Mart]) -> None:
    """Show until when the data of each feed reach, and what was loaded."""
    st.subheader("Freshness by feed")
    try:
        rows = marts.select(sql.SQL(FRESHNESS).format(load_audit=table("load_audit")), declared.feeds())
    except GranaryError as error:
        page.show_problem("The freshness of the feeds can't be shown:", error)
        return
    with contextlib.suppress(GranaryError):  # without the mart, its own section says so
        counts = dict(marts.select(sql.SQL(OPEN).format(rejected_rows=table("rejected_rows"))).itertuples(index=False))
        rows["rejections_open_count"] = [counts.get(feed, 0) for feed in rows["feed"]]
    newest = newest_dates(marts, all_marts)
    rows.insert(1, "data_until", [newest.get(feed) for feed in rows["feed"]])
    page.show_table(rows, [Column(name, TYPES.get(name, "bigint")) for name in rows.columns], "freshness")


def newest_dates(marts: Marts, all_marts: Mapping[str, Mart]) -> dict[str, datetime.date]:
    """Return the newest date of each feed, of its marts that are built and have one (meta.data_until).

    It is not after the feed's newest delivery, unless all dates are.
    """
    newest = {}
    for mart in all_marts.values():
        if column := mart.meta.get("data_until"):
            query = sql.SQL("select {} from {}").format(last_day(sql.Identifier(str(column))), table(mart.name))
            with contextlib.suppress(GranaryError):
                found = marts.select(query, marts.newest_delivery(mart.feed))
                newest.setdefault(mart.feed, []).append(found.iat[0, 0])
    return {feed: max(filter(None, dates), default=None) for feed, dates in newest.items()}
