#!/usr/bin/env python3
"""Compare the build of one new batch with a full refresh of the same data, and with the same batch on a longer history.

usage: .venv/bin/python benchmarks/incremental.py [--orders N] [--longer K] [--batches N] [--directory D]

Two warehouses get the same weekly deliveries, one for N orders, the other for K times as many weeks. Then each gets the
same further weeks, one at a time, and after each, both are built and tested as by bin/update, in turns.

A week brings 10,000 orders (1 % of them late by up to ten weeks, 1 % corrections of orders of any week since the
beginning), 11,000 transactions, 3,000 page views, 2,000 accounts, 200 showtimes (some corrected, some ordered before
they arrive), an event, and 800 merges of customers, of which every second names somebody of an earlier week. The rows
are made by SQL, as bin/ingest would have landed them, because this measures the build and not the load. They are clean.
"""

from __future__ import annotations

import argparse
import json
import statistics

from bench import Database, print_measurement, print_ratio, private_server, say

from granary import affected

# What a week brings, and with it a batch of each entity. The shares are those of the sample data.
ORDERS, PAGES, ACCOUNTS, SHOWTIMES, MERGES = 10_000, 3_000, 2_000, 200, 800
WEEKS_ON_SALE, EVENTS_AT_A_TIME = 4, 20
ENTITIES = ("accounts", "events", "showtimes", "orders", "transactions", "pages", "identity_merges")

# One query per entity: the rows of the weeks from %(first)s to before %(last)s, with `week` to tell their batch and
# `line` to number them in it. Each `n` counts from the beginning, so that ids follow from numbers, and {day:x} stands
# for the text of a timestamp x days after it.
ROWS = {
    "accounts": f"""
        select n / {ACCOUNTS} as week, n % {ACCOUNTS} as line, 'a_' || n as account_id,
            'customer.' || n || '@example.org' as email, {{day:n / {ACCOUNTS} * 7}} as created_at
        from generate_series(%(first)s * {ACCOUNTS}, %(last)s * {ACCOUNTS} - 1) as n
    """,
    "events": f"""
        select greatest(n - {WEEKS_ON_SALE}, 0) as week, n as line, 'e_' || n as event_id,
            'Event ' || n as name, 'event-' || n as slug
        from generate_series(
            %(first)s + case when %(first)s > 0 then {WEEKS_ON_SALE} else 0 end, %(last)s + {WEEKS_ON_SALE} - 1
        ) as n
    """,
    # Showtimes are delivered some weeks ahead. Two of a hundred are earlier ones that move to another event and day.
    "showtimes": f"""
        select greatest(n / {SHOWTIMES} - {WEEKS_ON_SALE}, 0) as week, n as line, 's_' || number as showtime_id,
            'e_' || greatest(number / {SHOWTIMES} - (number * 7 + n - number) % {EVENTS_AT_A_TIME}, 0) as event_id,
            {{day:number / {SHOWTIMES} * 7 + n % 7}} as start_at
        from (
            select n, case when n % 50 = 7 then greatest(n - (random() * 8 * {SHOWTIMES})::int, 0) else n end as number
            from generate_series(
                (%(first)s + case when %(first)s > 0 then {WEEKS_ON_SALE} else 0 end) * {SHOWTIMES},
                (%(last)s + {WEEKS_ON_SALE}) * {SHOWTIMES} - 1
            ) as n
        ) as numbers
    """,
    # One of a hundred corrects an order of any time; one is late; one names a showtime that the next batch brings.
    "orders": f"""
        select week, line, 'o_' || lpad(number::text, 9, '0') as order_id,
            'a_' || (random() * (week + 1) * {ACCOUNTS} - 0.5)::int as account_id,
            's_' || ((ordered_week + ahead) * {SHOWTIMES} + (random() * ({SHOWTIMES} - 1))::int) as showtime_id,
            {{day:ordered_week * 7 + random() * 7}} as created_at,
            to_char(20 + random() * 200, 'FM990.00') as total_amount
        from (
            select n / {ORDERS} as week, n % {ORDERS} as line, number,
                case when n % 100 = 8 then greatest(n / {ORDERS} - (random() * 10)::int, 0) else number / {ORDERS} end
                    as ordered_week,
                case when n % 100 = 9 then {WEEKS_ON_SALE + 1} else (random() * {WEEKS_ON_SALE})::int end as ahead
            from (
                select n, case when n % 100 = 7 then (random() * n)::int else n end as number
                from generate_series(%(first)s * {ORDERS}, %(last)s * {ORDERS} - 1) as n
            ) as numbers
        ) as orders
    """,
    # Each tenth order has a second transaction, and one of two hundred corrects a transaction of any time.
    "transactions": f"""
        select n / {ORDERS * 11 // 10} as week, n % {ORDERS * 11 // 10} as line,
            't_' || lpad(number::text, 9, '0') as transaction_id,
            'o_' || lpad((number / 11 * 10 + least(number % 11, 9))::text, 9, '0') as order_id,
            to_char(20 + random() * 200, 'FM990.00') as amount,
            {{day:n / {ORDERS * 11 // 10} * 7 + random() * 7}} as occurred_at
        from (
            select n, case when n % 200 = 7 then (random() * n)::int else n end as number
            from generate_series(%(first)s * {ORDERS * 11 // 10}, %(last)s * {ORDERS * 11 // 10} - 1) as n
        ) as numbers
    """,
    # Half of them by customers of any time, half by this week's.
    "pages": f"""
        select n / {PAGES} as week, n % {PAGES} as line, 'p_' || n as page_id, 'a_' || customer as account_id,
            case when n % 3 = 0 then 'device_' else 'c_' end || customer as customer_id,
            'Viewed Product Page' as page_type, {{day:n / {PAGES} * 7 + random() * 7}} as occurred_at,
            'e_' || n / {PAGES} as event_id, null as showtime_id
        from (
            select n, case
                when n % 2 = 0 then (random() * (n / {PAGES} + 1) * {ACCOUNTS} - 0.5)::int
                else n / {PAGES} * {ACCOUNTS} + (random() * ({ACCOUNTS} - 1))::int
            end as customer
            from generate_series(%(first)s * {PAGES}, %(last)s * {PAGES} - 1) as n
        ) as numbers
    """,
    # A device turns out to be a customer; one in ten customers turns out to be another one.
    "identity_merges": f"""
        select n / {MERGES} as week, n % {MERGES} as line,
            case when n % 10 = 0 then 'c_' else 'device_' end || customer as from_customer_id,
            'c_' || case
                when n % 10 = 0 then (random() * (n / {MERGES} + 1) * {ACCOUNTS} - 0.5)::int else customer
            end as to_customer_id,
            {{day:n / {MERGES} * 7 + random() * 7}} as merged_at
        from (
            select n, case
                when n % 2 = 0 then (random() * (n / {MERGES} + 1) * {ACCOUNTS} - 0.5)::int
                else n / {MERGES} * {ACCOUNTS} + (random() * ({ACCOUNTS} - 1))::int
            end as customer
            from generate_series(%(first)s * {MERGES}, %(last)s * {MERGES} - 1) as n
        ) as numbers
    """,
}


def main() -> None:
    """Build both warehouses, deliver the batches, measure, and print the ratios."""
    options = parse_arguments()
    short, long = options.orders // ORDERS, options.orders // ORDERS * options.longer
    with private_server(options.directory) as server:
        warehouses = {short: server.database("short")}
        if long > short:
            warehouses[long] = server.database("long")
        for weeks, database in warehouses.items():
            fill(database, weeks)
        commands: dict[int, list[float]] = {weeks: [] for weeks in warehouses}
        models: dict[int, list[dict[str, float]]] = {weeks: [] for weeks in warehouses}
        tests: dict[int, list[dict[str, float]]] = {weeks: [] for weeks in warehouses}
        for batch in range(options.batches):
            for weeks, database in warehouses.items():
                tested_batch = (weeks + batch) * len(ENTITIES)
                deliver(database, weeks + batch, weeks + batch + 1)
                database.execute("checkpoint")
                seconds, by_model = update(database, tested_batch)
                commands[weeks].append(seconds)
                models[weeks].append(by_model)
                tests[weeks].append(database.seconds_of("test"))
                say(
                    f"batch {batch + 1} after {weeks:,} weeks: {seconds:.1f} s, models {sum(by_model.values()):.1f} s,"
                    f" tests {sum(tests[weeks][-1].values()):.1f} s"
                )
        idle = [update(warehouses[short], tested_batch) for _ in range(options.batches)]
        say("full refresh")
        refreshes = []
        for _ in range(options.refreshes):
            warehouses[short].settle()
            refreshes.append(build(warehouses[short], "--full-refresh"))
            say(f"full refresh: {refreshes[-1][0]:.1f} s, models {sum(refreshes[-1][1].values()):.1f} s")
    print_results(options, short, long, commands, models, tests, idle, refreshes)


def update(database: Database, tested_batch: int) -> tuple[float, dict[str, float]]:
    """Build and test what bin/update would after batches of all entities; return what `build` does.

    bin/update itself would first have to test the whole history. Its own work, such as parsing the project and keeping
    its state, takes a few seconds, however long the history is: see update.py.
    """
    project = json.loads((database.scratch / f"target_{database.name}" / "manifest.json").read_text())
    selection = [selector for entity in ENTITIES for selector in affected.by_batch(project, "tickets", entity)]
    tested = json.dumps({"tested_batch": tested_batch})
    return build(database, "--select", *dict.fromkeys(selection), "--indirect-selection", "eager", "--vars", tested)


def build(database: Database, *options: str) -> tuple[float, dict[str, float]]:
    """Build models and data tests; return the seconds that this took, without dbt's start, and those of each model."""
    _, by_model = database.dbt("build", "--exclude-resource-type", "unit_test", *options)
    return database.last_run["elapsed_time"], by_model


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--orders", type=int, default=1_000_000, help="orders of the shorter history (default: a million)"
    )
    parser.add_argument("--longer", type=int, default=10, help="how many times as long the longer one is (default: 10)")
    parser.add_argument("--batches", type=int, default=3, help="batches to measure (default: 3)")
    parser.add_argument("--refreshes", type=int, default=2, help="full refreshes to measure (default: 2)")
    parser.add_argument(
        "--directory", help="where the temporary server's data goes (about 20 GB; default: the system's)"
    )
    return parser.parse_args()


def fill(database: Database, weeks: int) -> None:
    """Deliver a history, build it, and let the server know what it has."""
    say(f"{weeks:,} weeks, {weeks * ORDERS:,} orders: delivering them")
    database.prepare()
    deliver(database, 0, weeks)
    database.settle()
    say(f"{weeks:,} weeks, {weeks * ORDERS:,} orders: building from nothing")
    seconds, _ = database.dbt("run")
    database.settle()
    [[size]] = database.execute("select pg_size_pretty(pg_database_size(current_database()))")
    say(f"{weeks:,} weeks, {weeks * ORDERS:,} orders: built in {seconds:.0f} s, {size}")


def deliver(database: Database, first: int, last: int) -> None:
    """Add the batches of some weeks to the raw tables and the ledger, one per week and entity."""
    for position, entity in enumerate(ENTITIES):
        rows = ROWS[entity].replace("%(first)s", str(first)).replace("%(last)s", str(last))
        while "{day:" in rows:
            before, _, rest = rows.partition("{day:")
            expression, _, after = rest.partition("}")
            moment = f"timestamp '2005-01-03' + ({expression}) * interval '1 day'"
            rows = f'{before}to_char({moment}, \'YYYY-MM-DD"T"HH24:MI:SS"Z"\'){after}'
        table = f"raw.tickets__{entity}"
        columns = ", ".join(
            name
            for (name,) in database.execute(
                "select attname from pg_attribute where attrelid = %s::regclass and attnum > 0"
                " and attname not in ('_batch_id', '_row_id') order by attnum",
                [table],
            )
        )
        # The header has an id as well, which no row uses.
        database.execute(
            f"""
            select setseed({1 / (first + 2)});
            create temporary table delivered as
            select {columns}, week * {len(ENTITIES)} + {position + 1} as _batch_id,
                (select last_value from raw._row_ids) + row_number() over (order by week, line)
                + dense_rank() over (order by week) as _row_id
            from ({rows}) as made;
            insert into {table} ({columns}, _batch_id, _row_id)
            select {columns}, _batch_id, _row_id from delivered order by _row_id;
            insert into raw._batches (
                batch_id, feed, entity, path, sha256, bytes, rows_read, rows_loaded, first_row_id, status, started_at
            )
            select _batch_id, 'tickets', '{entity}', 'incremental/tickets/{entity}/batch_' || _batch_id || '.csv',
                md5(_batch_id::text), 0, count(*), count(*), min(_row_id) - 1, 'loaded', clock_timestamp()
            from delivered group by _batch_id;
            select setval('raw._row_ids', coalesce(max(_row_id), 0) + 1, false) from delivered;
            """
        )


def print_results(
    options: argparse.Namespace,
    short: int,
    long: int,
    commands: dict[int, list[float]],
    models: dict[int, list[dict[str, float]]],
    tests: dict[int, list[dict[str, float]]],
    idle: list[tuple[float, dict[str, float]]],
    refreshes: list[tuple[float, dict[str, float]]],
) -> None:
    """Print both sides and the ratios."""
    sums = {weeks: [sum(each.values()) for each in runs] for weeks, runs in models.items()}
    test_sums = {weeks: [sum(each.values()) for each in runs] for weeks, runs in tests.items()}
    refresh_commands = [seconds for seconds, _ in refreshes]
    refresh_sums = [sum(each.values()) for _, each in refreshes]
    middle = statistics.median
    print(f"\nIncremental build of a batch of {ORDERS:,} orders")
    for weeks in commands:
        print_measurement(f"after {weeks * ORDERS:,} orders: dbt build", commands[weeks])
        print_measurement(f"after {weeks * ORDERS:,} orders: sum of the models", sums[weeks])
        print_measurement(f"after {weeks * ORDERS:,} orders: sum of the tests", test_sums[weeks])
    print_measurement(f"full refresh of {short * ORDERS:,} orders: dbt build", refresh_commands)
    print_measurement(f"full refresh of {short * ORDERS:,} orders: sum of the models", refresh_sums)
    print_measurement("the same build with nothing new", [seconds for seconds, _ in idle])
    print_measurement("the same build with nothing new: sum of the models", [sum(each.values()) for _, each in idle])
    print()
    print_ratio("batch / full refresh, dbt build", middle(commands[short]) / middle(refresh_commands), "at most 0.05")
    print_ratio("batch / full refresh, sum of the models", middle(sums[short]) / middle(refresh_sums), "(the same)")
    if long > short:
        print_ratio(
            f"batch after {options.longer} times the history, dbt build",
            middle(commands[long]) / middle(commands[short]),
            "at most 1.20",
        )
        print_ratio(
            f"batch after {options.longer} times the history, sum of the models",
            middle(sums[long]) / middle(sums[short]),
            "(the same)",
        )
        print_ratio(
            f"batch after {options.longer} times the history, sum of the tests",
            middle(test_sums[long]) / middle(test_sums[short]),
            "(the same)",
        )
    print("\n  seconds by model (medians)" + "".join(f"{f'after {weeks * ORDERS:,}':>18}" for weeks in models), end="")
    print(f"{'full refresh':>18}")
    slowest = sorted(models[max(models)][0], key=lambda name: -middle(each[name] for each in models[max(models)]))
    for name in slowest:
        seconds = [middle(each[name] for each in runs) for runs in models.values()]
        seconds.append(middle(each[name] for _, each in refreshes))
        if max(seconds) >= 0.2:
            print(f"  {name:<34}" + "".join(f"{each:>18.2f}" for each in seconds))


if __name__ == "__main__":
    main()
