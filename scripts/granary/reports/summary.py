"""Show what the warehouse holds: rows per feed, a look at the marts of each, and what to try next.

usage: scripts/in_venv.sh granary.reports.summary        (or: make summary)

Only reads. What has not been built yet is said to be so.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence
from typing import Any

from psycopg2 import sql

from granary.project import ROOT, run_main
from granary.server.connection import connect

SALES_WEEKS = 4
RETURNS, RETURN_DAYS = 5, 30
COURSES = 5
SHOP_DAYS = 7
BAR_WIDTH = 20  # characters, for the largest value

ROWS_PER_FEED = """
    select feed, count(*), sum(rows_read), sum(rows_loaded), sum(rows_rejected)
    from raw._batches
    where status = 'loaded'
    group by feed
    order by feed
"""
QUARANTINED_PER_FEED = """
    select feed, sum(rows_quarantined_count), sum(values_rejected_count)
    from {marts}.load_audit
    where status = 'loaded'
    group by feed
"""
SALES = """
    select sales.sales_week, coalesce(events.event_name, sales.event_id), sales.order_count,
        sales.gross_sales_usd, sales.collected_usd
    from {marts}.fct_weekly_sales as sales
    left join {marts}.dim_event as events on events.event_id = sales.event_id
    where sales.sales_week > (select max(sales_week) from {marts}.fct_weekly_sales) - 7 * %s
    order by sales.sales_week desc, sales.gross_sales_usd desc, sales.event_id
"""
RETURNS_OF_ASSETS = """
    select prices.price_date::text, coalesce(assets.asset_name, prices.asset_id), round(prices.daily_return_pct, 2),
        trim_scale(prices.close_price_usd)::text
    from {marts}.fct_asset_prices_daily as prices
    left join {marts}.dim_asset as assets on assets.asset_id = prices.asset_id
    where prices.price_date > (select max(price_date) from {marts}.fct_asset_prices_daily) - %s
    order by prices.daily_return_pct desc nulls last, prices.price_date, prices.asset_id
    limit %s
"""
ENGAGEMENT = """
    select coalesce(course_title, course_id), learners, active_learners, round(100 * engagement_rate, 1),
        total_videos_completed, total_quizzes_completed
    from {marts}.course_engagement
    order by active_learners desc, learners desc, course_id
    limit %s
"""
DAILY_SALES = """
    select sales_date::text, order_count, units, returns_usd, net_sales_usd, net_sales_7d_avg_usd
    from {marts}.fct_daily_sales
    where sales_date > (select max(sales_date) from {marts}.fct_daily_sales) - %s
    order by sales_date desc
"""


def main() -> int:
    """Print the summary."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    sys.stdout.reconfigure(errors="replace")  # for terminals that know no block characters
    with contextlib.closing(connect()) as connection, connection.cursor() as cursor:
        print_rows(cursor)
        print_sales(cursor)
        print_returns(cursor)
        print_engagement(cursor)
        print_daily_sales(cursor)
    print_next_steps()
    return 0


def print_rows(cursor: Any) -> None:
    """Print rows read, loaded and rejected per feed."""
    loaded = query(cursor, ROWS_PER_FEED, "raw._batches")
    print("\nRows per feed\n")
    if not loaded:
        print("  Nothing is loaded yet: bin/ingest")
        return
    found = query(cursor, QUARANTINED_PER_FEED, "marts.load_audit")
    quarantined = {feed: counts for feed, *counts in found or []}
    unknown = ["-", "-"] if found is None else [0, 0]
    print_table(
        ["feed", "batches", "read", "loaded", "lines rejected", "rows rejected", "values rejected"],
        [[*row, *quarantined.get(row[0], unknown)] for row in loaded],
    )
    if found is None:
        print("\n  Rejected rows and values are known after bin/dbt build.")
    else:
        print("\n  Each one, with its file, line and reason: marts.rejected_rows.")


def print_sales(cursor: Any) -> None:
    """Print the last weeks of sales by event."""
    rows = query(cursor, SALES, "marts.fct_weekly_sales", "marts.dim_event", parameters=[SALES_WEEKS])
    print(f"\nSales by event, the last {SALES_WEEKS} weeks\n")
    if not rows:
        print("  No sales yet: bin/dbt build" if rows is None else "  There are no orders.")
        return
    largest = max(row[3] for row in rows)
    table, previous_week = [], None
    for week, event, orders, gross, collected in rows:
        bar = "█" * round(BAR_WIDTH * max(gross, 0) / largest) if largest > 0 else ""
        table.append(["" if week == previous_week else str(week), event, orders, gross, collected, bar])
        previous_week = week
    print_table(["week of", "event", "orders", "gross USD", "collected USD", ""], table)


def print_returns(cursor: Any) -> None:
    """Print the best daily returns of the last days."""
    print_rows_of(
        query(
            cursor,
            RETURNS_OF_ASSETS,
            "marts.fct_asset_prices_daily",
            "marts.dim_asset",
            parameters=[RETURN_DAYS, RETURNS],
        ),
        f"Best daily returns of the last {RETURN_DAYS} days",
        ["day", "asset", "return %", "close USD"],
    )


def print_engagement(cursor: Any) -> None:
    """Print the courses with the most active learners."""
    print_rows_of(
        query(cursor, ENGAGEMENT, "marts.course_engagement", parameters=[COURSES]),
        f"The {COURSES} courses with the most active learners",
        ["course", "learners", "active", "active %", "videos completed", "quizzes completed"],
    )


def print_daily_sales(cursor: Any) -> None:
    """Print the last days of the shop's sales."""
    print_rows_of(
        query(cursor, DAILY_SALES, "marts.fct_daily_sales", parameters=[SHOP_DAYS]),
        f"Sales of the shop, the last {SHOP_DAYS} days",
        ["day", "orders", "units", "returns USD", "net USD", "7-day average"],
    )


def print_rows_of(rows: list[tuple] | None, title: str, header: list[str]) -> None:
    """Print a table under its title, or why there is none."""
    print(f"\n{title}\n")
    if rows:
        print_table(header, rows)
    else:
        print("  Not built yet: bin/dbt build" if rows is None else "  There is nothing.")


def print_next_steps() -> None:
    """Say where the docs are and what to try."""
    pages = {
        "Docs": ROOT / "dbt" / "target" / "static_index.html",
        "Columns": ROOT / "output" / "data_dictionary.html",
        "Quality": ROOT / "output" / "quality_report.html",
    }
    print()
    for name, page in pages.items():
        target = "report" if name == "Quality" else "docs"
        print(f"{name:<10}{page.as_uri() if page.exists() else f'not written yet: make {target}'}")
    print()
    print("To try    bin/warehouse psql -c 'select * from marts.rejected_rows limit 5'")
    print("          bin/report --list      the marts; each can be written to a file")
    print("          bin/ingest --help      load a batch of your own")
    print("          make dashboard         five pages, in a browser")
    print("          make notebook          four charts, in JupyterLab")
    print("          make test              run the tests")
    print("          make help              everything else")


def query(cursor: Any, text: str, *relations: str, parameters: Sequence[Any] = ()) -> list[tuple] | None:
    """Return the rows of a query, or None when a relation that it reads is missing."""
    prefix = os.environ.get("GRANARY_SCHEMA_PREFIX") or ""
    for relation in relations:
        schema, name = relation.split(".")
        identifier = sql.Identifier(schema if schema == "raw" else prefix + schema, name)
        cursor.execute("select to_regclass(%s) is null", [identifier.as_string(cursor)])
        if cursor.fetchone()[0]:
            return None
    cursor.execute(sql.SQL(text).format(marts=sql.Identifier(prefix + "marts")), parameters)
    return cursor.fetchall()


def print_table(header: list[str], rows: list[list[Any]]) -> None:
    """Print aligned columns: numbers to the right with thousands separators, everything else to the left."""
    numeric = [all(not isinstance(row[i], str) or row[i] == "-" for row in rows) for i in range(len(header))]
    lines = [header, ["─" * len(name) for name in header]]
    lines += [
        ["" if value is None else value if isinstance(value, str) else f"{value:,}" for value in row] for row in rows
    ]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    lines[1] = ["─" * width for width in widths]
    for line in lines:
        cells = (
            f"{text:>{w}}" if right else f"{text:<{w}}" for text, w, right in zip(line, widths, numeric, strict=True)
        )
        print("  " + "  ".join(cells).rstrip())


if __name__ == "__main__":
    run_main(main)
