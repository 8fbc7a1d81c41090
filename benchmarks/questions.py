#!/usr/bin/env python3
"""Time the questions about a number on a long history, and one of them against plain work of the same size.

usage: .venv/bin/python benchmarks/questions.py [--orders N] [--directory D]

A warehouse gets weekly deliveries as in incremental.py, and a copy of it stays behind by the last week. Then the newest
week is traced, a line is followed to its numbers, the newest week is explained, and the orders of both are compared.
What a comparison of all orders takes is put beside copying both tables out of the database, which reads the same rows.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from bench import Database, print_ratio, private_server, say
from incremental import ENTITIES, ORDERS, deliver, fill


def main() -> None:
    """Build, ask, and print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=1_000_000, help="orders of the history (default: a million)")
    parser.add_argument("--directory", help="where the temporary server's data goes (default: the system's)")
    options = parser.parse_args()
    weeks = options.orders // ORDERS
    with private_server(options.directory) as server:
        database = server.database("questions")
        fill(database, weeks)
        deliver(database, weeks, weeks + 1)
        database.dbt("run")
        database.settle()
        last = str(weeks * len(ENTITIES))
        [(week, event)] = database.execute(
            "select sales_week, event_id from marts.fct_weekly_sales order by sales_week desc, order_count desc limit 1"
        )
        row = ("fct_weekly_sales", f"sales_week={week}", f"event_id={event}")
        path = f"incremental/tickets/orders/batch_{weeks * len(ENTITIES) + 1 + ENTITIES.index('orders')}.csv"
        seconds(database, "a row of a mart, into lines", "bin/trace", *row)
        seconds(database, "a line, to its numbers", "bin/trace", "--file", path, "--line", "2")
        seconds(database, "all rows of all marts", "bin/trace", "--check")
        seconds(database, "a mart as of the week before, built", "bin/as-of", last, "fct_weekly_sales", "event_id=e_1")
        seconds(database, "a mart as of the week before, again", "bin/as-of", last, "fct_weekly_sales", "event_id=e_1")
        seconds(database, "why a row is another one, built", "bin/why", *row, "--since", last)
        seconds(database, "why a row is another one, again", "bin/why", *row, "--since", last)
        compared = seconds(
            database, f"orders of {options.orders:,} compared", "bin/diff", f"as_of_{last}", "fct_orders"
        )
        begun = time.perf_counter()
        for schema in ("marts", f"copy_as_of_{last}__marts"):
            with database.connect() as connection, connection.cursor() as cursor, Path(os.devnull).open("w") as nowhere:
                cursor.copy_expert(f"copy {schema}.fct_orders to stdout", nowhere)
        copied = time.perf_counter() - begun
        print_ratio("comparison of all orders / both tables copied out", compared / copied, "at most 4")


def seconds(database: Database, what: str, *command: str) -> float:
    """Run a command, print what it took, and return it."""
    begun = time.perf_counter()
    database.run(*command, codes=(0, 1))  # bin/diff ends with 1 where anything differs
    taken = time.perf_counter() - begun
    say(f"{what}: {taken:.2f} s")
    return taken


if __name__ == "__main__":
    main()
