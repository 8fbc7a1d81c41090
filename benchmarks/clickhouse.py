#!/usr/bin/env python3
"""Publish a large mart to ClickHouse, in full, after one month has changed, and unchanged; ask both engines.

usage: .venv/bin/python benchmarks/clickhouse.py [--assets N] [--days N] [--repetitions N] [--directory D]

The mart is fct_asset_prices_daily, filled with generated prices. ClickHouse is chdb, within the process of the command.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import clickhouse_connect
from bench import ROOT, Database, print_measurement, print_ratio, private_server, say

PRICES = """
    insert into marts.fct_asset_prices_daily (
        asset_id, close_price_usd, market_cap_usd, total_volume_usd, days_since_previous_close,
        change_since_previous_close_pct, daily_return_pct, sma_7d_close, volatility_30d_pct, is_midnight_close,
        price_date, close_of_date, _batch_id, _row_id
    )
    select
        'asset-' || asset, 100 + 50 * sin(day / 90.0) + asset % 97, 1e9 + asset * 1e6, 1e6 * (1 + (asset * day) % 53),
        1, cos(day + asset) * 3, cos(day + asset) * 3, 100 + 50 * sin(day / 90.0), 40 + asset % 30, true,
        date '2016-01-02' + day, date '2016-01-01' + day, 1, asset * 10000 + day
    from generate_series(1, {assets}) as asset, generate_series(1, {days}) as day
"""
CHANGE = (
    "update marts.fct_asset_prices_daily set close_price_usd = close_price_usd + 1 where close_of_date = '2016-03-01'"
)
QUERIES = {
    "volume by month": """
        select date_trunc('month', close_of_date) as month, sum(total_volume_usd) as volume, count(*) as closes
        from marts.fct_asset_prices_daily group by 1 order by 1
    """,
    "assets with the most days of large moves": """
        select asset_id, count(*) as days, max(close_price_usd) as highest
        from marts.fct_asset_prices_daily where abs(daily_return_pct) > 2.9 group by 1 order by 2 desc, 1 limit 10
    """,
}


def main() -> None:
    """Measure, and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=1000, help="(default: 1,000)")
    parser.add_argument("--days", type=int, default=3000, help="(default: 3,000)")
    parser.add_argument("--repetitions", type=int, default=5, help="of each query (default: 5)")
    parser.add_argument("--directory", help="where the temporary server's data goes (default: the system's)")
    options = parser.parse_args()
    with private_server(options.directory) as server:
        database = server.database("published")
        say("building the sample, and filling the mart")
        database.run("bin/ingest")
        database.run("bin/dbt", "--quiet", "build", "--exclude-resource-type", "test", "unit_test")
        database.execute(PRICES.format(assets=options.assets, days=options.days))
        database.settle("marts.fct_asset_prices_daily")
        place = f"chdb://{server.scratch / 'clickhouse'}"
        seconds = {}
        for way, change in (("in full", ""), ("one month", CHANGE), ("unchanged", "")):
            if change:
                database.execute(change)
            seconds[way], memory, said = publish(database, place)
            say(f"{said} ({way}, {memory:,.0f} MB)")
            print_measurement(way, [seconds[way]], "s")
        print_ratio("one month / in full", seconds["one month"] / seconds["in full"], "the lower, the better")
        with clickhouse_connect.get_client(interface="chdb", dsn=place) as client:
            for name, query in QUERIES.items():
                compare(name, database, query, lambda query=query: client.query(query), options.repetitions)


def publish(database: Database, place: str) -> tuple[float, float, str]:
    """Publish the mart; return the seconds, the peak of the memory in MB, and what the command says of the mart."""
    environment = database.environment() | {
        "GRANARY_CLICKHOUSE": place,
        "GRANARY_LAKE": str(database.scratch / "lake"),
    }
    command = [ROOT / "bin" / "publish", "clickhouse", "fct_asset_prices_daily"]
    begun = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as running:
        said = running.stdout.read()
        _, status, usage = os.wait4(running.pid, 0)
        running.returncode = os.waitstatus_to_exitcode(status)
    if running.returncode:
        sys.exit("error: bin/publish failed")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024, said.splitlines()[0]


def compare(name: str, database: Database, query: str, ask: Callable[[], object], repetitions: int) -> None:
    """Measure a query on both, in turns, and print the ratio."""
    measured: dict[str, list[float]] = {"PostgreSQL": [], "ClickHouse": []}
    for _ in range(repetitions):
        measured["PostgreSQL"].append(database.timed(query))
        begun = time.perf_counter()
        ask()
        measured["ClickHouse"].append(time.perf_counter() - begun)
    for engine, seconds in measured.items():
        print_measurement(f"{name}, {engine}", seconds, "s")
    middle = {engine: statistics.median(seconds) for engine, seconds in measured.items()}
    print_ratio(
        f"{name}: ClickHouse / PostgreSQL", middle["ClickHouse"] / middle["PostgreSQL"], "the lower, the better"
    )


if __name__ == "__main__":
    main()
