"""The queries of the dashboard: each is one select on the marts, where the numbers are computed and tested."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from granary.project import GranaryError
from granary.reports.export import schema
from granary.server.connection import connect

TIMEOUT_S = 30
BUILD = "bin/ingest, then bin/dbt build"


@dataclass(frozen=True)
class Marts:
    """The marts as they stand at one moment."""

    connection: psycopg2.extensions.connection

    def select(self, query: str, **values: Any) -> pd.DataFrame:
        """Return the rows of a query, each value as the database gives it: numbers keep all their digits."""
        with self.connection.cursor() as cursor:
            cursor.execute(sql.SQL(query).format(marts=sql.Identifier(schema())), values)
            return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description], dtype=object)

    def bounds(self, query: str) -> tuple[Any, Any] | None:
        """Return the first and the last date that a query names, or None where there is none."""
        first, last = self.select(query).iloc[0]
        return None if first is None else (first, last)


@contextlib.contextmanager
def open_marts() -> Iterator[Marts]:
    """Give the marts, to read only. Raises GranaryError where they can't be reached, aren't built, or take too long."""
    with contextlib.closing(connect(options=f"-c statement_timeout={TIMEOUT_S}s")) as connection:
        connection.set_session(readonly=True, isolation_level="REPEATABLE READ")
        try:
            yield Marts(connection)
        except (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn) as error:
            missing = str(error).splitlines()[0]
            raise GranaryError(f"what this page shows isn't built yet: {BUILD}.\n({missing})") from None
        except psycopg2.errors.QueryCanceled:
            raise GranaryError(f"the warehouse took longer than {TIMEOUT_S} s; choose fewer days.") from None
        except psycopg2.Error as error:
            raise GranaryError(f"the marts can't be read: {str(error).strip()}") from None


# -- Tickets -----------------------------------------------------------------------------------------------------------

SALES_WEEKS = "select min(sales_week), max(sales_week) from {marts}.fct_weekly_sales"
EVENTS = """
    select sales.event_id, coalesce(events.event_name, sales.event_id) as event_name
    from (select distinct event_id from {marts}.fct_weekly_sales) as sales
    left join {marts}.dim_event as events on events.event_id = sales.event_id
    order by 2, 1
"""
WEEKLY_SALES = """
    select sales.sales_week, sales.event_id, coalesce(events.event_name, sales.event_id) as event_name,
        sales.order_count, sales.buyer_count, sales.gross_sales_usd, sales.collected_usd, sales.average_order_usd
    from {marts}.fct_weekly_sales as sales
    left join {marts}.dim_event as events on events.event_id = sales.event_id
    where sales.sales_week between %(first)s and %(last)s
        and (%(event_ids)s = cast(array[] as text[]) or sales.event_id = any(%(event_ids)s))
    order by sales.sales_week desc, sales.gross_sales_usd desc, sales.event_id
"""

# -- Market ------------------------------------------------------------------------------------------------------------

PRICE_DATES = "select min(price_date), max(price_date) from {marts}.fct_asset_prices_daily"
# The largest come first; those that are no longer among the fifty largest, last.
ASSETS = """
    select prices.asset_id, coalesce(assets.asset_name, prices.asset_id) as asset_name
    from (select distinct asset_id from {marts}.fct_asset_prices_daily) as prices
    left join {marts}.dim_asset as assets on assets.asset_id = prices.asset_id
    left join {marts}.asset_leaderboard as leaders on leaders.asset_id = prices.asset_id
    order by leaders.leaderboard_rank nulls last, 2, 1
"""
PRICES = """
    select prices.price_date, prices.asset_id, coalesce(assets.asset_name, prices.asset_id) as asset_name,
        trim_scale(prices.close_price_usd) as close_price_usd, trim_scale(prices.sma_7d_close) as sma_7d_close,
        prices.daily_return_pct
    from {marts}.fct_asset_prices_daily as prices
    left join {marts}.dim_asset as assets on assets.asset_id = prices.asset_id
    where prices.asset_id = any(%(asset_ids)s) and prices.price_date between %(first)s and %(last)s
    order by prices.price_date desc, array_position(%(asset_ids)s, prices.asset_id)
"""
LEADERBOARD = """
    select leaderboard_rank, asset_id, coalesce(asset_name, asset_id) as asset_name, upper(symbol) as symbol,
        trim_scale(price_usd) as price_usd, change_24h_pct, market_cap_usd, market_dominance_pct, total_volume_usd,
        distance_from_ath_pct, snapshot_at
    from {marts}.asset_leaderboard
    order by leaderboard_rank
"""

# -- Courses -----------------------------------------------------------------------------------------------------------

CATEGORIES = """
    select distinct category_name
    from {marts}.course_engagement
    where category_name is not null
    order by category_name
"""
ENGAGEMENT = """
    select course_id, coalesce(course_title, course_id) as course_title, category_name, learners, active_learners,
        engagement_rate, total_videos_completed, total_quizzes_completed, total_events, session_count, first_activity,
        last_activity
    from {marts}.course_engagement
    where %(categories)s = cast(array[] as text[]) or category_name = any(%(categories)s)
    order by learners desc, course_id
"""

# -- Shop --------------------------------------------------------------------------------------------------------------

SALES_DATES = "select min(sales_date), max(sales_date) from {marts}.fct_daily_sales"
DAILY_SALES = """
    select sales_date, order_count, customer_count, units, gross_sales_usd, discount_usd, returns_usd, net_sales_usd,
        net_sales_7d_avg_usd, average_order_usd
    from {marts}.fct_daily_sales
    where sales_date between %(first)s and %(last)s
    order by sales_date desc
"""
CUSTOMERS = """
    select customer_id, customer_name, country_code, rfm_segment, order_count, net_revenue_usd, margin_usd,
        predicted_12_month_value_usd, last_order_date
    from {marts}.customer_lifetime_value
    order by net_revenue_usd desc nulls last, customer_id
    limit %(count)s
"""
PRODUCTS = """
    select revenue_rank, product_id, coalesce(product_name, product_id) as product_name, category, units,
        returned_units, net_revenue_usd, margin_usd, margin_pct, share_of_revenue_pct, last_sale_date
    from {marts}.product_performance
    order by revenue_rank nulls last, product_id
    limit %(count)s
"""

# -- Data health -------------------------------------------------------------------------------------------------------

# The four feeds that the project brings say until when their data reach; any other says only when it was loaded.
FRESHNESS = """
    with newest (feed, newest_date) as (
        select 'tickets', max(sales_week) from {marts}.fct_weekly_sales
        union all
        select 'market', max(price_date) from {marts}.fct_asset_prices_daily
        union all
        select 'courses', cast(max(last_activity) as date) from {marts}.course_engagement
        union all
        select 'shop', max(sales_date) from {marts}.fct_daily_sales
    )
    select audit.feed, max(newest.newest_date) as newest_date, max(audit.finished_at) as last_loaded_at,
        count(*) as file_count, cast(sum(audit.rows_read_count) as bigint) as rows_read_count,
        cast(sum(audit.rows_loaded_count) as bigint) as rows_loaded_count,
        cast(sum(audit.lines_rejected_count) as bigint) as lines_rejected_count,
        cast(sum(audit.rows_quarantined_count) as bigint) as rows_quarantined_count,
        cast(sum(audit.values_rejected_count) as bigint) as values_rejected_count
    from {marts}.load_audit as audit
    left join newest on newest.feed = audit.feed
    where audit.status = 'loaded'
    group by audit.feed
    order by audit.feed
"""
FEEDS = "select distinct feed from {marts}.load_audit order by feed"
LOAD_DATES = "select cast(min(started_at) as date), cast(max(started_at) as date) from {marts}.load_audit"
LOADS = """
    select batch_id, feed, file_path, status, rows_read_count, rows_loaded_count, lines_rejected_count,
        rows_quarantined_count, values_rejected_count, error, started_at, finished_at
    from {marts}.load_audit
    where cast(started_at as date) between %(first)s and %(last)s and (%(feed)s is null or feed = %(feed)s)
    order by batch_id desc
    limit %(count)s
"""
REJECTED = """
    select feed, file_path, line_number, severity, column_name, delivered_value, reason
    from {marts}.rejected_rows
    where (%(feed)s is null or feed = %(feed)s) and (%(severity)s is null or severity = %(severity)s)
    order by _batch_id desc, line_number, column_name
    limit %(count)s
"""
BUILDS = """
    select started_at, finished_at, command, selection, status, models_built_count, tests_passed_count,
        tests_warned_count, tests_failed_count, error_count, is_full_refresh
    from {marts}.build_log
    where schema_prefix = %(prefix)s
    order by started_at desc, build_id
    limit %(count)s
"""
