"""What the API serves. An endpoint is an entry in this table; everything else treats all of them alike."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Filter:
    """A parameter that selects rows: `column operator value`. Several values of `=` mean any of them."""

    parameter: str
    column: str
    operator: str = "="


@dataclass(frozen=True)
class Endpoint:
    """A mart, and what may be asked of it."""

    name: str
    feed: str  # the scope that a token needs
    mart: str
    summary: str
    columns: list[str]
    filters: list[Filter]
    sort: str  # the order where none is asked for; `-` in front means descending
    sortable: list[str]
    key: list[str]  # the mart's grain: never null, and what breaks ties

    @property
    def sorts(self) -> list[str]:
        """Return the values that the parameter `sort` may have."""
        return [sign + column for column in self.sortable for sign in ("", "-")]


def names(text: str) -> list[str]:
    """Return the names of a list that is written with spaces."""
    return text.split()


def days(column: str) -> list[Filter]:
    """Return the two filters by date, both inclusive."""
    return [Filter("from", column, ">="), Filter("to", column, "<=")]


ENDPOINTS = [
    Endpoint(
        name="daily_sales",
        feed="shop",
        mart="fct_daily_sales",
        summary="Sales of the shop, by day",
        columns=names("""
            sales_date order_count customer_count units gross_sales_usd discount_usd returns_usd net_sales_usd
            average_order_usd net_sales_7d_avg_usd
        """),
        filters=days("sales_date"),
        sort="-sales_date",
        sortable=names("""
            sales_date order_count units gross_sales_usd net_sales_usd average_order_usd net_sales_7d_avg_usd
        """),
        key=["sales_date"],
    ),
    Endpoint(
        name="top_customers",
        feed="shop",
        mart="customer_lifetime_value",
        summary="Customers of the shop, by what they are worth",
        columns=names("""
            customer_id customer_name country_code rfm_segment order_count units net_revenue_usd margin_usd
            average_order_usd days_between_orders tenure_days recency_days historical_value_usd
            predicted_12_month_value_usd is_delivered first_order_date last_order_date as_of_date
        """),
        filters=[
            Filter("customer_id", "customer_id"),
            Filter("segment", "rfm_segment"),
            Filter("country", "country_code"),
        ],
        sort="-net_revenue_usd",
        sortable=names("""
            customer_id rfm_segment order_count net_revenue_usd margin_usd average_order_usd recency_days
            historical_value_usd predicted_12_month_value_usd last_order_date
        """),
        key=["customer_id"],
    ),
    Endpoint(
        name="product_metrics",
        feed="shop",
        mart="product_performance",
        summary="Products of the shop: revenue, margin, returns, trend",
        columns=names("""
            product_id product_name category unit_price_usd unit_cost_usd units returned_units net_revenue_usd
            margin_usd margin_pct return_rate share_of_revenue_pct revenue_rank category_revenue_rank
            net_revenue_last_28d_usd net_revenue_previous_28d_usd revenue_trend_28d_pct is_delivered first_sale_date
            last_sale_date
        """),
        filters=[Filter("product_id", "product_id"), Filter("category", "category")],
        sort="revenue_rank",
        sortable=names("""
            product_id category units net_revenue_usd margin_usd margin_pct return_rate revenue_rank
            revenue_trend_28d_pct last_sale_date
        """),
        key=["product_id"],
    ),
    Endpoint(
        name="weekly_sales",
        feed="tickets",
        mart="fct_weekly_sales",
        summary="Ticket sales, by week and event",
        columns=names("sales_week event_id order_count buyer_count gross_sales_usd collected_usd average_order_usd"),
        filters=[*days("sales_week"), Filter("event_id", "event_id")],
        sort="-sales_week",
        sortable=names("sales_week event_id order_count buyer_count gross_sales_usd collected_usd average_order_usd"),
        key=["sales_week", "event_id"],
    ),
    Endpoint(
        name="asset_prices",
        feed="market",
        mart="fct_asset_prices_daily",
        summary="Closes of assets, by day",
        columns=names("""
            asset_id price_date close_price_usd market_cap_usd total_volume_usd daily_return_pct sma_7d_close
            volatility_30d_pct
        """),
        filters=[*days("price_date"), Filter("asset_id", "asset_id")],
        sort="-price_date",
        sortable=names("""
            asset_id price_date close_price_usd market_cap_usd total_volume_usd daily_return_pct volatility_30d_pct
        """),
        key=["asset_id", "price_date"],
    ),
    Endpoint(
        name="asset_leaderboard",
        feed="market",
        mart="asset_leaderboard",
        summary="The largest assets of the latest snapshot",
        columns=names("""
            asset_id symbol asset_name price_trend liquidity leaderboard_rank market_cap_rank price_usd market_cap_usd
            total_volume_usd market_dominance_pct change_24h_pct price_range_24h_pct distance_from_ath_pct
            volume_to_market_cap snapshot_at
        """),
        filters=[
            Filter("asset_id", "asset_id"),
            Filter("price_trend", "price_trend"),
            Filter("liquidity", "liquidity"),
        ],
        sort="leaderboard_rank",
        sortable=names("""
            asset_id symbol leaderboard_rank market_cap_rank price_usd market_cap_usd total_volume_usd change_24h_pct
            volume_to_market_cap
        """),
        key=["asset_id"],
    ),
    Endpoint(
        name="course_engagement",
        feed="courses",
        mart="course_engagement",
        summary="Courses: learners, and what they completed",
        columns=names("""
            course_id course_title category_name learners active_learners engagement_rate total_quizzes_completed
            total_videos_completed total_events session_count first_activity last_activity
        """),
        filters=[Filter("course_id", "course_id"), Filter("category", "category_name")],
        sort="-active_learners",
        sortable=names("""
            course_id course_title learners active_learners engagement_rate total_events session_count last_activity
        """),
        key=["course_id"],
    ),
]
FEEDS = sorted({endpoint.feed for endpoint in ENDPOINTS})
