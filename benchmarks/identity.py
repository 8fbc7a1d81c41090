#!/usr/bin/env python3
"""Measure how customers are resolved: shallow merges against deep ones, and against the usual recursive query.

usage: .venv/bin/python benchmarks/identity.py [--merges N] [--deep D] [--undone U] [--repetitions N]
           [--timeout SECONDS]

1. The models that parse the merges and resolve customers (int_tickets__identity_merges,
   int_identity__latest_merges, int_identity__resolved_customers), as
   `dbt run` times them, on N merges in chains of 3 and on N merges in chains of D, in turns.
2. The query of int_identity__resolved_customers against the usual one, which follows each customer's own chain
   upwards and keeps its last step. Both start from the table int_identity__latest_merges and write a table. Where the
   usual query does not end within the timeout (or fills its share of the disk), what is printed is a lower bound.
   Where both end, they must agree.
3. The models that report undone merges (int_identity__undone_merges, int_identity__connected_customers), on U merges
   of which none is undone, and on the same ones after a second merge of each customer has undone all of them.

Merges are delivered in random order, with times in random order.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import time

import psycopg2
from bench import Database, Server, print_measurement, print_ratio, private_server, say

MODELS = ("int_tickets__identity_merges", "int_identity__latest_merges", "int_identity__resolved_customers")
REPORTING = ("int_identity__undone_merges", "int_identity__connected_customers")
SHALLOW = 3  # merges in a chain
MIDDLING = (100, 500)  # deep enough to hurt the usual query, and not so deep that it never ends
TEMPORARY_SPACE = "20GB"  # that the usual query may fill

USUAL = """
with recursive chains as (

    select
        customer_id,
        absorbed_by_customer_id as reached_customer_id,
        1 as step
    from intermediate.int_identity__latest_merges
    where absorbed_by_customer_id is not null

    union all

    select
        chains.customer_id,
        merges.absorbed_by_customer_id as reached_customer_id,
        chains.step + 1 as step
    from chains
    inner join intermediate.int_identity__latest_merges as merges
        on chains.reached_customer_id = merges.customer_id
    where merges.absorbed_by_customer_id is not null

)

select distinct on (customer_id)
    customer_id,
    reached_customer_id as canonical_customer_id
from chains
order by customer_id, step desc
"""


def main() -> None:
    """Measure both parts and print the ratios."""
    options = parse_arguments()
    with private_server(options.directory) as server:
        shallow, deep = (deliver(server, options.merges, length) for length in (SHALLOW, options.deep))
        seconds: dict[Database, list[float]] = {shallow: [], deep: []}
        for repetition in range(options.repetitions):
            for name, database in (("shallow", shallow), ("deep", deep)):
                seconds[database].append(resolve(database))
                say(f"{name}, repetition {repetition + 1}: {seconds[database][-1]:.1f} s")
        comparisons = [against_the_usual_query(shallow, options.merges, SHALLOW, options.timeout)]
        for length in MIDDLING:
            database = deliver(server, options.merges // 10, length)
            resolve(database)
            comparisons.append(against_the_usual_query(database, options.merges // 10, length, options.timeout))
        comparisons.append(against_the_usual_query(deep, options.merges, options.deep, options.timeout))
        reported = deliver(server, options.undone, MIDDLING[0])
        none_undone = report(reported, options.repetitions)
        undo_all(reported)
        all_undone = report(reported, options.repetitions)

    print(f"\nResolving {options.merges:,} merges (as dbt times the models)")
    print_measurement(f"chains of {SHALLOW}", seconds[shallow])
    print_measurement(f"chains of {options.deep:,}", seconds[deep])
    ratio = statistics.median(seconds[deep]) / statistics.median(seconds[shallow])
    print_ratio(f"chains of {options.deep:,} / chains of {SHALLOW}", ratio, "at most 2")
    print("\nThe query of int_identity__resolved_customers and the usual recursive one, on the same table")
    for name, ours, usual, ended in comparisons:
        print(f"  {name:<42} {ours:6.1f} s and {'' if ended else '> '}{usual:.1f} s: ", end="")
        print(f"{usual / ours:.1f} times as fast, same rows" if ended else f"at least {usual / ours:.0f} times as fast")
    print(f"\nReporting undone merges, {options.undone:,} merges in chains of {MIDDLING[0]} (as dbt times the models)")
    print_measurement("none is undone", none_undone)
    print_measurement("all are undone", all_undone)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--merges", type=int, default=1_000_000, help="default: a million")
    parser.add_argument("--deep", type=int, default=20_000, help="merges in a deep chain (default: 20,000)")
    parser.add_argument("--undone", type=int, default=200_000, help="merges to undo (default: 200,000)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each depth (default: 3)")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for the usual query (default: 120)")
    parser.add_argument(
        "--directory", help="where the temporary server's data goes (up to 25 GB; default: the system's)"
    )
    return parser.parse_args()


def deliver(server: Server, merges: int, length: int) -> Database:
    """Create a database and put merges that form chains into its raw table, as bin/ingest would have done."""
    say(f"{merges:,} merges in chains of {length:,}: delivering them")
    database = server.database(f"chains_{merges}_{length}")
    database.prepare()
    database.execute(
        f"""
        select setseed(0.5);
        insert into raw._batches (
            batch_id, feed, entity, path, sha256, bytes, rows_read, rows_loaded, first_row_id, status, started_at
        )
        values (
            1, 'tickets', 'identity_merges', 'initial/tickets/identity_merges.csv', '', 0, {merges}, {merges}, 0,
            'loaded', clock_timestamp()
        );
        insert into raw.tickets__identity_merges (from_customer_id, to_customer_id, merged_at, _batch_id)
        select
            'c_' || chain || '_' || position,
            'c_' || chain || '_' || position + 1,
            to_char(timestamp '2026-01-01' + random() * interval '300 days', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
            1
        from (
            select
                n / {length} as chain,
                n % {length} as position
            from generate_series(0, {merges} - 1) as n
            order by random()
        ) as numbers;
        """
    )
    database.execute("vacuum (analyze) raw.tickets__identity_merges")
    database.run("bin/dbt", "--quiet", "run", "--select", "stg_tickets__identity_merges")
    return database


def resolve(database: Database) -> float:
    """Build the models; return the seconds that they took, as dbt reports them."""
    database.execute("checkpoint")
    _, by_model = database.dbt("run", "--full-refresh", "--select", *MODELS)
    return sum(by_model[model] for model in MODELS)


def undo_all(database: Database) -> None:
    """Merge each customer once more, into one that nobody else is merged into."""
    database.execute(
        """
        insert into raw._batches (
            batch_id, feed, entity, path, sha256, bytes, first_row_id, status, started_at
        )
        values (2, 'tickets', 'identity_merges', 'again', '', 0, 0, 'loaded', clock_timestamp());
        insert into raw.tickets__identity_merges (from_customer_id, to_customer_id, merged_at, _batch_id)
        select from_customer_id, 'away_from_' || from_customer_id, '2027-01-01T00:00:00Z', 2
        from raw.tickets__identity_merges;
        """
    )


def report(database: Database, repetitions: int) -> list[float]:
    """Build the models that report undone merges; return the seconds that they took, as dbt reports them."""
    resolve(database)
    seconds = []
    for _ in range(repetitions):
        _, by_model = database.dbt("run", "--select", *REPORTING)
        seconds.append(sum(by_model[model] for model in REPORTING))
    return seconds


def against_the_usual_query(
    database: Database, merges: int, length: int, timeout: int
) -> tuple[str, float, float, bool]:
    """Time the model's query and the usual one on the same table, and compare their rows.

    Returns what was resolved, the seconds of either query (until it was stopped), and whether the usual one ended.
    """
    name = f"{merges:,} merges in chains of {length:,}"
    query = database.compiled(MODELS[-1])
    ours = statistics.median(timed_table(database, "ours", query) for _ in range(3))
    check(database, merges, length)
    say(f"{name}: {ours:.1f} s; now the usual query, for at most {timeout} s")
    database.execute(f"alter database {database.name} set statement_timeout = '{timeout}s'")
    database.execute(f"alter database {database.name} set temp_file_limit = '{TEMPORARY_SPACE}'")
    begun, ended = time.perf_counter(), False
    with contextlib.suppress(psycopg2.errors.QueryCanceled, psycopg2.errors.ConfigurationLimitExceeded):
        timed_table(database, "usual", USUAL)
        ended = True
    usual = time.perf_counter() - begun
    if ended:
        # The usual query says nothing of customers that stand for themselves.
        merged = "select customer_id, canonical_customer_id from ours where customer_id <> canonical_customer_id"
        for left, right in ((merged, "table usual"), ("table usual", merged)):
            if database.execute(f"({left} except all {right}) limit 1"):
                sys.exit(f"error: {name}: the two queries do not agree")
    database.execute("drop table if exists ours, usual")
    return name, ours, usual, ended


def timed_table(database: Database, table: str, query: str) -> float:
    """Write the rows of a query to a table; return the seconds that it took."""
    database.execute(f"drop table if exists {table}")
    database.execute("checkpoint")
    return database.timed(f"create table {table} as {query}")


def check(database: Database, merges: int, length: int) -> None:
    """End with an error unless each customer is resolved to the end of its chain. (The last chain may be shorter.)"""
    [[right]] = database.execute(
        f"""
        select count(*) filter (
            where canonical_customer_id = 'c_' || chain || '_' || least({length}, {merges} - chain * {length})
        )
        from (
            select
                canonical_customer_id,
                split_part(customer_id, '_', 2)::int as chain
            from ours
        ) as resolved
        """
    )
    chains = -(-merges // length)
    if right != merges + chains:
        sys.exit(f"error: {right:,} of {merges + chains:,} customers are resolved to the end of their chain")


if __name__ == "__main__":
    main()
