"""ClickHouse has the marts as they are: each whole, with exact values, and as it was until another takes its place."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import clickhouse_connect
import pytest

from conftest import ROOT, Database, needs_sample

pytestmark = [needs_sample, pytest.mark.long]
PRICES = "fct_asset_prices_daily"
MARTS = 41
SERVER = os.environ.get(
    "GRANARY_TEST_CLICKHOUSE"
)  # such as http://granary:granary@127.0.0.1:8123; its marts are dropped

# Runs bin/publish with a client that changes what it is told to: see `spoiled`.
SPOILED = """
import contextlib, os, signal, sys
from granary import publish
from granary.project import run_main

when, step = sys.argv.pop(1).split(" ", 1)
connected = publish.clickhouse

@contextlib.contextmanager
def spoiled(address):
    with connected(address) as client:
        command, insert = client.command, client.insert_arrow

        def run(done, named, *arguments):
            if when == "before" and named.startswith(step):
                os.kill(os.getpid(), signal.SIGKILL)
            result = done(*arguments)
            if when == "after" and named.startswith(step):
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        def send(table, rows):
            if when == "lose" and step in table:
                rows = rows.slice(1)
            run(insert, "insert", table, rows)

        client.command = lambda text: run(command, text.strip(), text)
        client.insert_arrow = send
        yield client

publish.clickhouse = spoiled
run_main(publish.main)
"""


class Published:
    """A database whose marts are published, and the ClickHouse that has them."""

    def __init__(self, database: Database, directory: Path) -> None:
        self.database = database
        self.address = SERVER or f"chdb://{directory / 'clickhouse'}"
        self.environment = {"GRANARY_CLICKHOUSE": self.address, "GRANARY_LAKE": str(directory / "the lake")}

    def publish(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run bin/publish."""
        return self.database.run("bin/publish", "clickhouse", *arguments, env=self.environment)

    def spoiled(self, what: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Publish, and on the way kill the process `before` or `after` a step, or `lose` a row of a table."""
        command = (str(ROOT / ".venv/bin/python"), "-c", SPOILED, what, "clickhouse", *arguments)
        return self.database.run(*command, env=self.environment)

    def succeed(self, *arguments: str) -> str:
        """Publish, which has to succeed; return what is printed."""
        done = self.publish(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def query(self, query: str) -> list[tuple]:
        """Return the rows of a query of ClickHouse."""
        with clickhouse_connect.get_client(interface=urlsplit(self.address).scheme, dsn=self.address) as client:
            return [tuple(row) for row in client.query(query).result_rows]

    def tables(self) -> list[str]:
        """Return the tables of marts."""
        return [name for (name,) in self.query("select name from system.tables where database = 'marts' order by 1")]


@pytest.fixture
def published(new_database: Callable[..., Database], sample: Database, tmp_path: Path) -> Iterator[Published]:
    """The sample, and an empty ClickHouse."""
    made = Published(new_database(sample), tmp_path)
    made.query("drop database if exists marts") if SERVER else None
    yield made


def test_marts_are_published_exactly_and_then_only_what_differs(published: Published) -> None:
    said = published.succeed()
    assert said.count(" written\n") == MARTS
    assert f"{MARTS} marts published in " in said
    assert len(published.tables()) == MARTS
    query = (
        "select asset_id, close_of_date, close_price_usd, market_cap_usd, daily_return_pct, is_midnight_close, _row_id"
        f" from marts.{PRICES} order by asset_id, close_of_date"
    )
    assert published.query(query) == published.database.query(query)
    described = published.query(f"select name, type, comment from system.columns where table = '{PRICES}'")
    types = {name: kind for name, kind, _ in described}
    assert types["close_price_usd"] == "Decimal(38, 18)"
    assert types["market_cap_usd"] == "Nullable(Decimal(38, 2))"
    assert types["asset_id"] == "LowCardinality(String)"
    assert types["close_of_date"] == "Date32"
    assert types["is_midnight_close"] == "Bool"
    assert all(comment for _, _, comment in described)
    keys = f"select partition_key, sorting_key, engine from system.tables where name = '{PRICES}'"
    assert published.query(keys) == [("toYYYYMM(close_of_date)", "asset_id, close_of_date", "MergeTree")]

    assert published.succeed().count(": unchanged, ") == MARTS
    month = "to_char(close_of_date, 'YYYYMM')"
    rows = dict(published.database.query(f"select {month}, count(*) from marts.{PRICES} group by 1"))
    first, *kept, last = sorted(rows)
    assert kept
    published.database.query(f"delete from marts.{PRICES} where {month} = '{last}'")
    published.database.query(
        f"update marts.{PRICES} set close_price_usd = close_price_usd + 0.000000000000000001 where {month} = '{first}'"
    )
    said = published.succeed()
    assert said.count(": unchanged, ") == MARTS - 1
    assert f"{PRICES}: {sum(rows.values()) - rows[last]:,} rows, {rows[first]:,} written\n" in said
    parts = f"select distinct partition_id from system.parts where table = '{PRICES}' and active order by 1"
    assert published.query(parts) == [(name,) for name in (first, *kept)]
    assert published.query(query) == published.database.query(query)


def test_values_at_the_edges_stay_what_they_are(published: Published) -> None:
    published.database.query(
        "update marts.dim_event set event_name = case event_id when 'e_01' then '' when 'e_02' then null"
        " when 'e_03' then '\\N' when 'e_04' then e'tab\\there, \"quoted\"\\nand 😀' else event_name end"
    )
    published.database.query(
        "update marts.dim_showtime set starts_at = case when showtime_id = (select min(showtime_id) from"
        " marts.dim_showtime) then '2299-12-31 23:59:59.999999+00' else starts_at end"
    )
    largest = "9" * 20 + "." + "9" * 18
    published.database.query(f"update marts.{PRICES} set close_price_usd = {largest}, sma_7d_close = -{largest}")
    published.succeed("dim_event", "dim_showtime", PRICES)
    for query in (
        "select event_id, event_name from marts.dim_event order by 1",
        "select showtime_id, starts_at from marts.dim_showtime order by 1",
        f"select distinct close_price_usd, sma_7d_close from marts.{PRICES}",
    ):
        assert published.query(query) == published.database.query(query)


def test_any_year_that_can_be_read_is_published(published: Published) -> None:
    """A mart that is divided by months, too, with a change in one of them."""
    query = published.database.query
    query(
        "with numbered as (select order_id, row_number() over (order by order_id) as number from marts.fct_orders)"
        " update marts.fct_orders set ordered_at = case number when 1 then timestamp '0001-01-01'"
        " when 2 then '0999-12-31'"
        " when 3 then '1899-12-31 23:59:59.999999' else '9999-12-31' end"
        " from numbered where numbered.order_id = fct_orders.order_id and number < 5"
    )
    published.succeed("fct_orders")
    query("update marts.fct_orders set order_total_usd = 1 where ordered_at < '1000-01-01'")
    assert ", 2 written\n" in published.succeed("fct_orders")
    rows = "select order_id, ordered_at, order_total_usd from marts.fct_orders order by 1"
    assert published.query(rows) == query(rows)


def test_what_clickhouse_does_not_keep_is_named_and_nothing_is_published(published: Published) -> None:
    published.succeed(PRICES, "dim_event")
    before = published.query(f"select count(), sum(close_price_usd) from marts.{PRICES}")
    published.database.query(f"update marts.{PRICES} set close_price_usd = 1")
    published.database.query("update marts.dim_event set event_name = 'another' where event_id = 'e_01'")
    done = published.spoiled("lose dim_event", PRICES, "dim_event")
    assert done.returncode == 1
    assert done.stderr.startswith(
        "error: dim_event isn't in ClickHouse as it is in the mart, so nothing was published: "
    )
    assert "only in the mart" in done.stderr
    assert published.query(f"select count(), sum(close_price_usd) from marts.{PRICES}") == before
    published.succeed(PRICES, "dim_event")
    assert published.query(f"select distinct close_price_usd from marts.{PRICES}") == [(1,)]


@pytest.mark.parametrize(
    "when",
    [
        "after create table",
        "after insert",
        "before exchange tables",
        "after exchange tables",
        "after drop table marts",
        "before alter table",
        "after alter table",
    ],
)
def test_a_killed_publication_leaves_each_mart_whole(published: Published, when: str) -> None:
    marts = (PRICES, "dim_event")
    published.succeed(*marts)
    queries = [
        f"select * from marts.{PRICES} order by asset_id, close_of_date",
        "select * from marts.dim_event order by 1",
    ]
    old = [published.query(query) for query in queries]
    published.database.query(
        f"update marts.{PRICES} set close_price_usd = 1"
        f" where close_of_date = (select max(close_of_date) from marts.{PRICES})"
    )
    published.database.query("update marts.dim_event set event_name = 'another' where event_id = 'e_01'")
    assert published.spoiled(when, *marts).returncode == -9
    found = [published.query(query) for query in queries]
    published.succeed(*marts)
    new = [published.query(query) for query in queries]
    assert all(one != two for one, two in zip(old, new, strict=True))
    assert all(rows in states for rows, *states in zip(found, old, new, strict=True))
    assert published.tables() == sorted(marts)


def test_marts_of_a_build_that_failed_was_killed_or_is_running_are_not_published(published: Published) -> None:
    """Until everything was built and tested again: a later build of a part doesn't make up for it."""
    query = published.database.query
    build = (
        "insert into raw._builds select %s, '', 'build', %s, false, %s, 9, %s, 0, %s, 0, now() + %s::interval, now()"
    )
    query(build, ["failed", None, "failed", 5, 2, "1 second"])
    query(build, ["a part", "dim_event", "passed", 5, 0, "2 seconds"])
    query(build, ["untested", None, "passed", 0, 0, "3 seconds"])
    done = published.publish("dim_event")
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"error: the build of \S+ \S+ in postgres failed \(2 tests failed, 0 errors\): build all again without that, or"
        r" publish with --force\n",
        done.stderr,
    )
    assert published.tables() == []
    published.succeed("dim_event", "--force")
    assert published.tables() == ["dim_event"]
    query(build, ["all", None, "passed", 5, 0, "4 seconds"])
    published.succeed("dim_event")
    query("insert into raw._begun_builds values ('killed', '', now() + interval '5 seconds')")
    done = published.publish("dim_event")
    assert " in postgres is running, or was killed: wait, or build again, or publish with --force\n" in done.stderr
    query("insert into raw._begun_builds values ('all again', '', now() + interval '6 seconds')")
    query(build, ["all again", None, "passed", 5, 0, "6 seconds"])
    published.succeed("dim_event")


def test_another_warehouse_can_publish_at_the_same_time(published: Published) -> None:
    """Each fills tables of its own, and what one has left is not the other's to drop."""
    published.succeed("dim_event")
    published.query("create table marts.dim_event__new_0badcafe (id Int64) engine = MergeTree order by id")
    published.query("create table marts.dim_former (id Int64) engine = MergeTree order by id")
    said = published.succeed("dim_event")
    assert "not marts, or no longer: dim_former in the database marts: drop what nobody needs\n" in said
    assert published.tables() == ["dim_event", "dim_event__new_0badcafe", "dim_former"]


def test_ways_out(published: Published, tmp_path: Path) -> None:
    form = "http://user:password@host:8123, special characters of the password as %2F, or chdb:///a/folder"
    name = f"error: name a server: GRANARY_CLICKHOUSE={form} (docs/engines.md)\n"
    for address, said in (
        *(
            (address, name)
            for address in ("", "tcp://host", "http://", "http://a:s/b@host:1", "http://[x", "chdb://a/b")
        ),
        (
            "http://someone:secret@127.0.0.1:1",
            "error: ClickHouse at 127.0.0.1: can't connect: Connection refused (GRANARY_CLICKHOUSE)\n",
        ),
    ):
        published.environment["GRANARY_CLICKHOUSE"] = address
        done = published.publish("dim_event")
        assert (done.returncode, done.stderr) == (1, said)
    published.environment["GRANARY_LAKE"] = "Makefile/lake"
    assert published.publish("dim_event").stderr.startswith("error: can't write to the lake ")
    published.environment["GRANARY_LAKE"] = str(tmp_path / "lake")
    published.database.query("drop table marts.dim_event cascade")
    done = published.publish("dim_event", "dim_showtime", "--dry-run")
    assert (done.returncode, done.stderr) == (
        1,
        "error: dim_event isn't built in postgres: build it, or name the marts to publish\n",
    )
    assert 'order by ("showtime_id")' in published.succeed("dim_showtime", "--dry-run")
