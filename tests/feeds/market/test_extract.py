"""bin/extract against a local HTTP server: what it keeps, what it makes of it, what it does when things go wrong."""

from __future__ import annotations

import contextlib
import csv
import datetime
import email.utils
import gzip
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import ROOT, Database, run_command, start_command, wait_until
from feeds.market.coingecko import DAY, MARKETS, MIDNIGHT, Answer, CoinGecko, chart, chart_path, market
from granary import declared
from granary.feeds.market import extract

KEY = "CG-secret0123456789"
HEADERS = {
    "coin_markets_snapshot": "ingested_at_ts,asset_id,symbol,name,current_price_usd,market_cap_usd,market_cap_rank,"
    "total_volume_usd,high_24h_usd,low_24h_usd,pct_change_24h,circulating_supply,total_supply,max_supply,"
    "ath_usd,ath_date,atl_usd,atl_date,last_updated_ts,request_scope,requested_count,is_whole",
    "coin_price_history": "asset_id,price_date,close_price_usd,market_cap_usd,total_volume_usd,source_ts_ms",
}

# Whatever the user has set, a test sets for itself. Empty counts as unset, and keeps .env out, too.
SETTINGS = {
    "COINGECKO_API_KEY": "",
    "COINGECKO_PLAN": "",
    "COINGECKO_CALLS_PER_MINUTE": "60000",
    "COINGECKO_TIMEOUT": "",
    "GRANARY_RAW_URL": "",
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


class Feed:
    """A data root of its own, and the command that fills it."""

    def __init__(self, root: Path, url: str) -> None:
        self.data, self.settings = root / "data of a test", SETTINGS | {"COINGECKO_BASE_URL": url}

    def run(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run bin/extract."""
        return run_command("bin/extract", "--data-dir", self.data, *arguments, env=self.settings | settings)

    def start(self, *arguments: str, **settings: str) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Start bin/extract, and don't wait for it."""
        return start_command("bin/extract", "--data-dir", self.data, *arguments, env=self.settings | settings)

    def payloads(self, ending: str = "json") -> dict[str, bytes]:
        """Return the payloads by their names, without the time that the names begin with."""
        files = sorted((self.data / "raw" / "coingecko").glob(f"*/*.{ending}"))
        return {re.sub(r"^\d{6}Z_", "", file.name): file.read_bytes() for file in files}

    def rows(self, entity: str) -> list[dict[str, str]]:
        """Return the rows of an entity's batches, by the names in their headers."""
        rows = []
        for batch in sorted((self.data / "incremental" / "market" / entity).glob("*")):
            with batch.open(newline="") as stream:
                rows += csv.DictReader(stream)
        return rows

    def request(self) -> set[tuple[str, ...]]:
        """Return what the rows of the snapshot say about the request: its scope, its number, whether it is whole."""
        return {tuple(row[name] for name in extract.REQUEST) for row in self.rows("coin_markets_snapshot")}

    def column(self, entity: str, name: str) -> list[str]:
        """Return one column of an entity's batches."""
        return [row[name] for row in self.rows(entity)]


@pytest.fixture
def api() -> Iterator[CoinGecko]:
    """Give a server that knows four coins."""
    with CoinGecko(["bitcoin", "ethereum", "solana", "dogecoin"]) as server:
        yield server


@pytest.fixture
def feed(tmp_path: Path, api: CoinGecko) -> Feed:
    """Give an empty data root, and the command that fills it from `api`."""
    return Feed(tmp_path, api.url)


# -- What is kept, and what becomes of it ------------------------------------------------------------------------------


def test_named_coins_become_payloads_and_batches(api: CoinGecko, feed: Feed) -> None:
    done = feed.run("--coins", "ethereum, bitcoin,ethereum", "--days", "7")
    assert (done.returncode, done.stderr) == (0, "")
    folder = next((feed.data / "raw" / "coingecko").iterdir())
    assert done.stdout == (
        f"2 coins, 16 prices, {len(list(folder.iterdir()))} files in {folder}, 0 failed\n"
        f"load them: bin/ingest --data-dir '{feed.data}' market\n"
    )
    assert [request.path for request in api.requests] == [MARKETS, chart_path("ethereum"), chart_path("bitcoin")]
    markets, ethereum, _ = (request.query for request in api.requests)
    assert markets["ids"] == "ethereum,bitcoin"
    assert (markets["vs_currency"], markets["per_page"]) == ("usd", "250")
    assert ethereum == {"vs_currency": "usd", "days": "7", "interval": "daily"}
    assert feed.payloads() == {
        "coins_markets_1.json": api.sent[MARKETS][0],
        "market_chart_bitcoin.json": api.sent[chart_path("bitcoin")][0],
        "market_chart_ethereum.json": api.sent[chart_path("ethereum")][0],
    }
    assert feed.column("coin_markets_snapshot", "asset_id") == ["ethereum", "bitcoin"]
    moment = feed.column("coin_markets_snapshot", "ingested_at_ts")
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", moment[0])
    assert moment == moment[:1] * 2
    snapshot = next((feed.data / "incremental/market/coin_markets_snapshot").iterdir())
    assert snapshot.read_text().splitlines()[0] == HEADERS["coin_markets_snapshot"]
    assert snapshot.name == f"{moment[0].replace(':', '')}.csv"
    assert folder.name == moment[0][:10]
    assert snapshot.read_text().splitlines()[2] == (
        f"{moment[0]},bitcoin,bit,Bitcoin,70187.5,1381651251183,1,20154184933,70215,68060,3.12502,19675987.0,21000000.0,,"
        "73738,2024-03-14T07:10:36.635Z,67.81,2013-07-06T00:00:00.000Z,2026-02-03T10:14:12.000Z,coins,2,true"
    )


def test_a_thousand_coins_take_four_pages(tmp_path: Path) -> None:
    with CoinGecko([f"coin-{number}" for number in range(1, 1101)]) as api:
        feed = Feed(tmp_path, api.url)
        assert feed.run("--top", "1000", "--days", "1").returncode == 0
        pages = [(request.query["page"], request.query["per_page"]) for request in api.asked(MARKETS)]
        assert pages == [("1", "250"), ("2", "250"), ("3", "250"), ("4", "250")]
        assert {request.query["order"] for request in api.asked(MARKETS)} == {"market_cap_desc"}
        assert len(api.requests) == 1004
    expected = [f"coin-{number}" for number in range(1, 1001)]
    assert feed.column("coin_markets_snapshot", "asset_id") == expected
    assert list(dict.fromkeys(feed.column("coin_price_history", "asset_id"))) == expected


def test_the_top_coins_are_cut_to_their_number(api: CoinGecko, feed: Feed) -> None:
    assert feed.run("--top", "3").returncode == 0
    assert feed.column("coin_markets_snapshot", "asset_id") == ["bitcoin", "ethereum", "solana"]
    assert not api.asked(chart_path("dogecoin"))
    assert {request.query["days"] for request in api.requests[1:]} == {"30"}


def test_a_coin_that_moves_to_the_next_page_is_one_row(api: CoinGecko, feed: Feed) -> None:
    first = [market(f"coin-{number}", number) for number in range(1, 251)]
    api.tell(MARKETS, Answer(body=json.dumps(first).encode()), Answer(body=json.dumps([first[-1]]).encode()))
    feed.run("--top", "500", "--days", "1")
    assert len(feed.rows("coin_markets_snapshot")) == 250


def test_pages_end_where_the_coins_do(api: CoinGecko, feed: Feed) -> None:
    assert feed.run("--top", "5000", "--days", "1").returncode == 0
    assert len(api.asked(MARKETS)) == 2
    assert len(feed.rows("coin_markets_snapshot")) == 4


def test_many_names_are_asked_for_in_chunks(api: CoinGecko, feed: Feed) -> None:
    names = [f"coin-{number}" for number in range(250)] + ["bitcoin"]
    done = feed.run("--coins", ",".join(names))
    assert [len(request.query["ids"].split(",")) for request in api.asked(MARKETS)] == [250, 1]
    assert done.returncode == 1
    assert done.stderr.count("\n") == 250
    assert [request.path for request in api.requests[2:]] == [chart_path("bitcoin")]
    assert feed.column("coin_markets_snapshot", "asset_id") == ["bitcoin"]


# -- What a snapshot says about itself ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "request_of_rows"),
    [
        (["--top", "3"], ("top", "3", "true")),
        (["--top", "5000"], ("top", "5000", "true")),  # the API has no more: all that was asked for is there
        (["--coins", "bitcoin,ethereum"], ("coins", "2", "true")),
        (["--coins", "bitcoin,nosuchcoin"], ("coins", "2", "false")),
    ],
)
def test_a_snapshot_says_what_was_asked_for(feed: Feed, arguments: list[str], request_of_rows: tuple[str, ...]) -> None:
    done = feed.run(*arguments, "--days", "1")
    assert feed.request() == {request_of_rows}
    assert "not whole" not in done.stderr


@pytest.mark.parametrize(
    ("failed", "kept"),
    [
        ([Answer(502, headers={"Retry-After": "0"})] * extract.MAX_ATTEMPTS, None),
        ([Answer(body=b'{"coins":[]}')], b'{"coins":[]}'),
        ([Answer(body=b'{"status":{"error_code":12345}}')], b'{"status":{"error_code":12345}}'),
    ],
    ids=["502", "unexpected", "error"],
)
def test_a_snapshot_without_one_of_its_pages_is_not_whole(tmp_path: Path, failed: list[Answer], kept: bytes) -> None:
    """Page 1 of 2 fails: the ranks from 251 on are no market. The page's payload is kept, if there was one."""
    with CoinGecko([f"coin-{number}" for number in range(1, 301)]) as api:
        api.tell(MARKETS, *failed)
        feed = Feed(tmp_path, api.url)
        done = feed.run("--top", "300", "--days", "1")
    assert done.returncode == 1
    assert done.stderr.startswith("error: coins/markets, page 1: ")
    assert done.stderr.endswith("the snapshot is not whole: the market stays as of the latest whole one\n")
    assert feed.column("coin_markets_snapshot", "asset_id") == [f"coin-{number}" for number in range(251, 301)]
    assert feed.request() == {("top", "300", "false")}
    assert feed.payloads().get("coins_markets_1.json") == kept


def test_a_snapshot_that_ended_early_is_not_whole(tmp_path: Path) -> None:
    with CoinGecko([f"coin-{number}" for number in range(1, 301)]) as api:
        first = json.dumps(api.coins[:250]).encode()
        api.tell(MARKETS, Answer(body=first), Answer(401))
        feed = Feed(tmp_path, api.url)
        assert feed.run("--top", "300").returncode == 1
    assert len(feed.rows("coin_markets_snapshot")) == 250
    assert feed.request() == {("top", "300", "false")}


# -- Values ------------------------------------------------------------------------------------------------------------


def test_numbers_are_kept_digit_by_digit(api: CoinGecko, feed: Feed) -> None:
    digits = {
        "current_price": "1e-08",
        "ath": "0.1000000000000000055",
        "total_supply": "123456789012345678901234567890",
    }
    coin = market("bitcoin", 1) | {name: f"<{name}>" for name in digits}
    body = json.dumps([coin]).encode()
    for name, text in digits.items():
        body = body.replace(f'"<{name}>"'.encode(), text.encode())
    api.tell(MARKETS, Answer(body=body))
    api.tell(
        chart_path("bitcoin"),
        Answer(
            body=b'{"prices":[[%d,1E-8]],"market_caps":[[%d,1.10]],"total_volumes":[[%d,null]]}' % ((MIDNIGHT,) * 3)
        ),
    )
    assert feed.run("--coins", "bitcoin").returncode == 0
    row = feed.rows("coin_markets_snapshot")[0]
    assert row["current_price_usd"] == "1e-08"
    assert row["ath_usd"] == "0.1000000000000000055"
    assert row["total_supply"] == "123456789012345678901234567890"
    assert row["max_supply"] == ""
    point = feed.rows("coin_price_history")[0]
    assert list(point.values()) == ["bitcoin", "2026-02-03", "1E-8", "1.10", "", str(MIDNIGHT)]
    assert feed.payloads()["coins_markets_1.json"] == body


def test_points_are_joined_by_their_time_and_today_is_among_them(api: CoinGecko, feed: Feed) -> None:
    """Market caps come in another order and lack a point; the day of a point is that of its time in UTC."""
    now = MIDNIGHT + DAY - 1
    points = {
        "prices": [[MIDNIGHT - 1, 1], [MIDNIGHT, 2], [now, 3]],
        "market_caps": [[now, 30], [MIDNIGHT - 1, 10]],
        "total_volumes": [[MIDNIGHT - 1, 100], [MIDNIGHT, 200], [now, 300]],
    }
    api.tell(chart_path("bitcoin"), Answer(body=json.dumps(points).encode()))
    assert feed.run("--coins", "bitcoin").returncode == 0
    assert [list(row.values()) for row in feed.rows("coin_price_history")] == [
        ["bitcoin", "2026-02-02", "1", "10", "100", str(MIDNIGHT - 1)],
        ["bitcoin", "2026-02-03", "2", "", "200", str(MIDNIGHT)],
        ["bitcoin", "2026-02-03", "3", "30", "300", str(now)],
    ]


def test_foreign_text_stays_text(api: CoinGecko, feed: Feed) -> None:
    coin = market("../../evil/coin", 1) | {
        "name": 'a "quoted", name\nof two lines \ud800 ü',
        "symbol": 7,
        "ath": {"usd": 1},
    }
    api.tell(MARKETS, Answer(body=json.dumps([coin]).encode()))
    api.tell(chart_path("../../evil/coin"), Answer(body=json.dumps(chart(1)).encode()))
    assert feed.run("--top", "1").returncode == 0
    assert list(feed.payloads()) == ["coins_markets_1.json", "market_chart_..%2F..%2Fevil%2Fcoin.json"]
    row = feed.rows("coin_markets_snapshot")[0]
    assert (row["name"], row["symbol"]) == ('a "quoted", name\nof two lines \\ud800 ü', "7")
    assert feed.column("coin_price_history", "asset_id") == ["../../evil/coin"] * 2


def test_a_name_too_long_for_a_file_costs_that_coin_only(api: CoinGecko, feed: Feed) -> None:
    long = "long" * 60
    body = json.dumps([market(long, 1), market("bitcoin", 2)]).encode()
    api.tell(MARKETS, Answer(body=body))
    api.tell(chart_path(long), Answer(body=json.dumps(chart(1)).encode()))
    done = feed.run("--top", "2")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {long}: ")
    assert done.stderr.endswith(": File name too long\n")
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}


def test_a_compressed_answer_is_kept_unpacked(api: CoinGecko, feed: Feed) -> None:
    body = json.dumps(chart(30)).encode()
    api.tell(chart_path("bitcoin"), Answer(body=gzip.compress(body), headers={"Content-Encoding": "gzip"}))
    assert feed.run("--coins", "bitcoin").returncode == 0
    assert feed.payloads()["market_chart_bitcoin.json"] == body


def test_parquet_stands_beside_each_payload(feed: Feed) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    assert feed.run("--coins", "bitcoin", "--days", "2").returncode == 0
    files = {file.name[8:]: parquet.read_table(file).to_pylist() for file in feed.data.rglob("*.parquet")}
    assert sorted(files) == ["coins_markets_1.parquet", "market_chart_bitcoin.parquet"]
    assert files["coins_markets_1.parquet"][0].keys() == market("bitcoin", 1).keys()
    assert files["coins_markets_1.parquet"][0]["current_price"] == "70187.5"
    assert files["coins_markets_1.parquet"][0]["max_supply"] is None
    assert files["market_chart_bitcoin.parquet"] == feed.rows("coin_price_history")


def test_it_works_without_the_optional_packages(tmp_path: Path, feed: Feed) -> None:
    for name in ("pyarrow", "fsspec", "s3fs"):
        (tmp_path / f"{name}.py").write_text("raise ImportError(f'No module named {__name__}')")
    command = [sys.executable, "-m", "granary.extract", "market", "--data-dir", feed.data, "--coins", "bitcoin"]
    settings = feed.settings | {"PYTHONPATH": str(tmp_path)}
    done = run_command(*command, env=settings, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(feed.payloads()) == 2
    assert not feed.payloads("parquet")
    refused = run_command(*command, env=settings | {"GRANARY_RAW_URL": "s3://bucket"}, cwd=ROOT)
    assert refused.returncode == 1
    assert "No module named fsspec" in refused.stderr
    assert "requirements/extract.txt" in refused.stderr
    assert len(feed.payloads()) == 2


def test_the_batches_load(database: Database, feed: Feed) -> None:
    assert feed.run("--top", "4", "--days", "3").returncode == 0
    (feed.data / "incremental/market/coin_price_history/.2026-02-03T101500Z.csv.partial").write_text("half a fi")
    done = database.run("bin/ingest", "--data-dir", feed.data, "--strict", "market")
    assert done.returncode == 0, done.stderr
    assert "2 files: 2 loaded (20 rows, 0 lines rejected), 0 known, 0 failed" in done.stdout
    for name, header in HEADERS.items():
        assert set(header.split(",")) == set(declared.entities()["market", name].columns)
        loaded = database.query(f"select {header} from raw.market__{name} order by _row_id")
        assert [[value or "" for value in row] for row in loaded] == [list(row.values()) for row in feed.rows(name)]


def test_a_later_run_overwrites_nothing(feed: Feed) -> None:
    """Not even in the same second: former runs have taken this one and the next two."""
    now = datetime.datetime.now(datetime.timezone.utc)
    for seconds in range(3):
        former = (
            feed.data
            / f"raw/coingecko/{now + datetime.timedelta(seconds=seconds):%Y-%m-%d/%H%M%SZ}_coins_markets_1.json"
        )
        former.parent.mkdir(parents=True, exist_ok=True)
        former.write_bytes(b"former")
    for _ in range(2):
        assert feed.run("--coins", "bitcoin").returncode == 0
    assert len(list(feed.data.rglob("*_market_chart_bitcoin.json"))) == 2
    assert len(list(feed.data.rglob("*.csv"))) == 4
    contents = [file.read_bytes() for file in feed.data.rglob("*_coins_markets_1.json")]
    assert (len(contents), contents.count(b"former")) == (5, 3)
    assert not list(feed.data.rglob(".*"))


def test_two_runs_at_once_are_refused(api: CoinGecko, feed: Feed) -> None:
    api.tell(MARKETS, Answer(delay=60))
    with feed.start("--coins", "bitcoin") as first:
        wait_until(lambda: api.asked(MARKETS))
        second = feed.run("--coins", "bitcoin")
        assert second.returncode == 1
        assert second.stderr.startswith("error: another bin/extract is writing to ")
        first.kill()


# -- The key -----------------------------------------------------------------------------------------------------------


def test_the_key_goes_into_the_header_and_nowhere_else(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("bitcoin"), Answer(500, headers={"Retry-After": "0"}), Answer(body=b"nonsense"))
    api.tell(chart_path("ethereum"), Answer(302, KEY.encode(), {"Location": f"{api.url}/elsewhere"}))
    api.tell(chart_path("solana"), Answer(401, KEY.encode()))  # an answer that repeats it
    done = feed.run("--coins", "bitcoin,ethereum,solana", COINGECKO_API_KEY=f" {KEY}\n")
    assert done.returncode == 1
    assert "ethereum: HTTP 302" in done.stderr
    assert "correct COINGECKO_API_KEY" in done.stderr
    assert not api.asked("/elsewhere")
    assert {request.headers["x-cg-demo-api-key"] for request in api.requests} == {KEY}
    assert not any(KEY in str(request.query) or KEY in request.path for request in api.requests)
    assert KEY not in done.stdout + done.stderr
    files = [file for file in feed.data.rglob("*") if file.is_file()]
    assert files
    assert not any(KEY.encode() in file.read_bytes() or KEY in str(file) for file in files)


def test_a_key_that_can_not_be_one_is_not_shown(feed: Feed) -> None:
    for bad in (f"{KEY}\nX-Other: 1", f"{KEY}é"):
        done = feed.run("--coins", "bitcoin", COINGECKO_API_KEY=bad)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr == "error: invalid COINGECKO_API_KEY: it contains a character that no key has; copy it again\n"
        )


def test_it_works_without_a_key(api: CoinGecko, feed: Feed) -> None:
    assert feed.run("--coins", "bitcoin").returncode == 0
    assert not any("x-cg-demo-api-key" in request.headers for request in api.requests)


@pytest.mark.parametrize(
    ("status", "key", "remedy"),
    [(401, KEY, "correct COINGECKO_API_KEY, or COINGECKO_PLAN=demo: "), (403, "", "set COINGECKO_API_KEY ")],
)
def test_refused_access_ends_the_run(api: CoinGecko, feed: Feed, status: int, key: str, remedy: str) -> None:
    api.tell(chart_path("ethereum"), Answer(status))
    done = feed.run("--coins", "bitcoin,ethereum,solana", COINGECKO_API_KEY=key)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        next(line for line in done.stderr.splitlines() if line.startswith(f"error: {remedy}"))
    ]
    assert f"HTTP {status}" in done.stderr
    assert not api.asked(chart_path("solana"))
    assert len(api.asked(chart_path("ethereum"))) == 1
    assert feed.column("coin_markets_snapshot", "asset_id") == ["bitcoin", "ethereum", "solana"]
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}


def test_a_paid_key_goes_into_the_header_of_its_plan(api: CoinGecko, feed: Feed) -> None:
    done = feed.run("--coins", "bitcoin", COINGECKO_API_KEY=KEY, COINGECKO_PLAN="pro")
    assert (done.returncode, done.stderr) == (0, "")
    assert {request.headers["x-cg-pro-api-key"] for request in api.requests} == {KEY}
    assert not any("x-cg-demo-api-key" in request.headers for request in api.requests)


@pytest.mark.parametrize(
    ("plan", "key", "base", "gap"),
    [
        ("", "", "https://api.coingecko.com", 6),
        ("", KEY, "https://api.coingecko.com", 2),
        ("demo", KEY, "https://api.coingecko.com", 2),
        ("pro", KEY, "https://pro-api.coingecko.com", 0.24),
    ],
)
def test_the_address_and_the_pace_follow_the_plan(
    monkeypatch: pytest.MonkeyPatch, plan: str, key: str, base: str, gap: float
) -> None:
    settings = {"COINGECKO_PLAN": plan, "COINGECKO_API_KEY": key}
    for name, value in {"COINGECKO_CALLS_PER_MINUTE": "", "COINGECKO_BASE_URL": "", **settings}.items():
        monkeypatch.setenv(name, value)
    client = extract.Client()
    assert (client.base, client.gap) == (base, gap)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"COINGECKO_PLAN": "free"}, "invalid COINGECKO_PLAN=free: choose demo or pro"),
        (
            {"COINGECKO_PLAN": "pro"},
            "COINGECKO_PLAN=pro needs a key: set COINGECKO_API_KEY, or unset COINGECKO_PLAN",
        ),
        (
            {"COINGECKO_API_KEY": KEY, "COINGECKO_BASE_URL": "https://PRO-api.coingecko.com/api/v3/"},
            "invalid COINGECKO_BASE_URL for COINGECKO_PLAN=demo: set COINGECKO_PLAN=pro, to which"
            " https://PRO-api.coingecko.com belongs, or unset COINGECKO_BASE_URL",
        ),
        (
            {"COINGECKO_API_KEY": KEY, "COINGECKO_PLAN": "pro", "COINGECKO_BASE_URL": "https://api.coingecko.com"},
            "invalid COINGECKO_BASE_URL for COINGECKO_PLAN=pro: set COINGECKO_PLAN=demo, to which"
            " https://api.coingecko.com belongs, or unset COINGECKO_BASE_URL",
        ),
    ],
)
def test_a_plan_that_does_not_fit_is_refused(feed: Feed, settings: dict[str, str], message: str) -> None:
    done = feed.run("--coins", "bitcoin", **settings)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"error: {message}\n")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"status":{"error_code":10011,"error_message":"..."}}', 10011),
        (b'{"timestamp":"2026-02-03T10:15:00.000","error_code":10011,"status":{"error_message":"..."}}', 10011),
        (b'{"error":{"status":{"error_code":10011}}}', 10011),
        (b'{"error":"coin not found"}', None),
        (b'{"error":{"error":{"error":[]}}}', None),
        (b'{"error_code":"many"}', None),
        (b'[{"id":"bitcoin","error_code":1}]', None),
        (b"<html>", None),
        (b'{"status":' * 50_000, None),
    ],
)
def test_the_code_of_an_error_is_found_where_the_api_puts_it(body: bytes, code: int | None) -> None:
    assert extract.error_code(body) == code


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(
    ("code", "key", "message"),
    [
        (10002, "", "set COINGECKO_API_KEY (a demo key is free): {base} refused access"),
        (10002, KEY, "correct COINGECKO_API_KEY, or COINGECKO_PLAN=demo: {base} refused access"),
        (10005, KEY, "ask for less, or change the plan: the key's plan excludes it"),
        (10010, KEY, "set COINGECKO_PLAN=pro and unset COINGECKO_BASE_URL: the key is one of a paid plan"),
        (10011, KEY, "set COINGECKO_PLAN=demo and unset COINGECKO_BASE_URL: the key is one of the demo plan"),
    ],
)
def test_an_error_that_the_next_request_would_meet_too_ends_the_run(
    api: CoinGecko, feed: Feed, status: int, code: int, key: str, message: str
) -> None:
    body = json.dumps({"status": {"error_code": code, "error_message": f"the key is {KEY}"}}).encode()
    api.tell(MARKETS, Answer(status, body))
    done = feed.run("--coins", "bitcoin", COINGECKO_API_KEY=key)
    assert done.returncode == 1
    assert done.stderr == f"error: {message.format(base=api.url)} (HTTP {status}, error {code})\n"
    assert len(api.requests) == 1
    kept = {"coins_markets_1.json": body.replace(key.encode(), b"...") if key else body}
    assert feed.payloads() == (kept if status == 200 else {})
    assert not (feed.data / "incremental").exists()


# -- When things go wrong ----------------------------------------------------------------------------------------------


def test_an_unknown_coin_does_not_stop_the_others(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("ethereum"), Answer(404))
    done = feed.run("--coins", "nosuchcoin,ethereum,bitcoin")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("error: nosuchcoin: unknown to the API; ")
    assert lines[1] == "error: ethereum: unknown to the API (HTTP 404)"
    assert not api.asked(chart_path("nosuchcoin"))
    assert len(api.asked(chart_path("ethereum"))) == 1
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}
    assert "2 failed" in done.stdout


@pytest.mark.parametrize(
    "bad",
    [
        Answer(500, b'{"error":"oops"}'),
        Answer(503, b"<html>", {"Retry-After": "in a while"}),
        Answer(408, headers={"Retry-After": "0"}),
        Answer(429, headers={"Retry-After": "0"}),
        Answer(body=json.dumps(chart(1)).encode(), missing=10),
        Answer(body=b"<html>Just a moment...</html>"),
        Answer(body=b"[" * 100_000),
        Answer(body=b""),
        Answer(body=b'{"status":{"error_code":429}}', headers={"Retry-After": "0"}),
        Answer(400, b'{"error":{"status":{"error_code":503}}}', headers={"Retry-After": "0"}),
        Answer(delay=30),
        Answer(body=b"x" * 100, trickle=0.3),
    ],
    ids=["500", "503", "408", "429", "cut off", "html", "nested", "empty", "200/429", "400/503", "slow", "trickling"],
)
def test_a_bad_answer_is_asked_for_again(api: CoinGecko, feed: Feed, bad: Answer) -> None:
    api.tell(chart_path("bitcoin"), bad)
    started = time.monotonic()
    done = feed.run("--coins", "bitcoin", "--days", "1", COINGECKO_TIMEOUT="1" if bad.delay or bad.trickle else "")
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - started < 20
    assert len(api.asked(chart_path("bitcoin"))) == 2
    assert len(feed.rows("coin_price_history")) == 2
    assert feed.payloads()["market_chart_bitcoin.json"] == json.dumps(chart(1)).encode()


@pytest.mark.parametrize("as_date", [False, True], ids=["seconds", "date"])
def test_retry_after_is_honoured(api: CoinGecko, feed: Feed, as_date: bool) -> None:
    moment = time.time() + 4
    wait = email.utils.formatdate(moment, usegmt=True) if as_date else "2"  # a date has whole seconds only
    api.tell(chart_path("bitcoin"), Answer(429, headers={"Retry-After": wait}))
    assert feed.run("--coins", "bitcoin").returncode == 0
    first, second = (request.at for request in api.asked(chart_path("bitcoin")))
    if as_date:
        assert time.time() - (time.monotonic() - second) >= int(moment) - 0.05
    else:
        assert second - first >= 1.95


def test_a_wait_that_is_too_long_ends_the_run(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("bitcoin"), Answer(429, headers={"Retry-After": "3600"}))
    done = feed.run("--coins", "bitcoin,ethereum")
    assert done.returncode == 1
    assert done.stderr == "error: run bin/extract again in 3,600 s, as the API asks (HTTP 429)\n"
    assert len(api.requests) == 2
    assert len(feed.rows("coin_markets_snapshot")) == 2


def test_too_many_requests_end_the_run_after_some_tries(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("bitcoin"), *[Answer(429, headers={"Retry-After": "0"})] * 9)
    done = feed.run("--coins", "bitcoin,ethereum")
    assert done.returncode == 1
    assert done.stderr == "error: too many requests (HTTP 429), 5 times\n"
    assert len(api.requests) == 1 + 5


def test_a_coin_without_an_answer_does_not_stop_the_others(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("bitcoin"), *[Answer(500, headers={"Retry-After": "0"})] * 5)
    done = feed.run("--coins", "bitcoin,ethereum")
    assert done.returncode == 1
    assert done.stderr == "error: bitcoin: HTTP 500, 5 times\n"
    assert set(feed.column("coin_price_history", "asset_id")) == {"ethereum"}


def test_three_coins_without_an_answer_end_the_run(api: CoinGecko, feed: Feed) -> None:
    for coin in ("bitcoin", "ethereum", "solana"):
        api.tell(chart_path(coin), *[Answer(500, headers={"Retry-After": "0"})] * 5)
    done = feed.run("--top", "4")
    assert done.returncode == 1
    assert [line.split(":")[1] for line in done.stderr.splitlines()] == [
        " bitcoin",
        " ethereum",
        " solana",
        " run bin/extract again later",
    ]
    assert not api.asked(chart_path("dogecoin"))


def test_charts_of_an_unexpected_shape_are_named_and_kept(tmp_path: Path) -> None:
    bodies = [
        "[]",
        "null",
        "{}",
        '{"error":"out of order"}',
        '{"prices":null,"market_caps":[],"total_volumes":[]}',
        '{"prices":[[1]],"market_caps":[],"total_volumes":[]}',
        '{"prices":[["soon",1]],"market_caps":[],"total_volumes":[]}',
        '{"prices":[[1e999,1]],"market_caps":[],"total_volumes":[]}',
        '{"prices":[[NaN,1]],"market_caps":[],"total_volumes":[]}',
        '{"prices":[[null,1]],"market_caps":[],"total_volumes":[]}',
        '{"prices":[[1,1]],"market_caps":[[{},1]],"total_volumes":[]}',
    ]
    coins = [f"coin-{number}" for number in range(10, 10 + len(bodies))]
    with CoinGecko([*coins, "bitcoin"]) as api:
        for coin, body in zip(coins, bodies, strict=True):
            api.tell(chart_path(coin), Answer(body=body.encode()))
        feed = Feed(tmp_path, api.url)
        done = feed.run()
    assert done.returncode == 1
    assert done.stderr == "".join(f"error: {coin}: unexpected JSON; its payload is kept\n" for coin in coins)
    assert [feed.payloads()[f"market_chart_{coin}.json"].decode() for coin in coins] == bodies
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}


@pytest.mark.parametrize("points", ["[]", f"[[{MIDNIGHT},null]]"])
def test_a_chart_without_prices_is_a_failure(api: CoinGecko, feed: Feed, points: str) -> None:
    body = b'{"prices":%s,"market_caps":[],"total_volumes":[]}' % points.encode()
    api.tell(chart_path("ethereum"), Answer(body=body))
    done = feed.run("--coins", "ethereum,bitcoin")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ethereum: no prices for these days; its payload is kept: ask for more --days")
    assert feed.payloads()["market_chart_ethereum.json"] == body
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}


def test_an_unknown_error_in_an_answer_is_named_and_kept(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("ethereum"), Answer(body=b'{"error_code":12345}'))
    done = feed.run("--coins", "ethereum,bitcoin")
    assert done.stderr == f"error: ethereum: HTTP 200, error 12345, see {extract.ERRORS}\n"
    assert feed.payloads()["market_chart_ethereum.json"] == b'{"error_code":12345}'
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}


def test_markets_of_an_unexpected_shape_are_named_and_kept(api: CoinGecko, feed: Feed) -> None:
    bodies = ["null", "7", '{"error":1}', "[1]", '[{"symbol":"btc"}]', '[{"id":null}]']
    api.tell(MARKETS, *[Answer(body=body.encode()) for body in bodies])
    done = feed.run("--top", "1500")
    assert done.returncode == 1
    assert done.stderr == "".join(
        f"error: coins/markets, page {number}: unexpected JSON; its payload is kept\n" for number in range(1, 7)
    )
    assert [feed.payloads()[f"coins_markets_{number}.json"].decode() for number in range(1, 7)] == bodies
    assert not (feed.data / "incremental").exists()


def test_no_coins_are_a_failure(api: CoinGecko, feed: Feed) -> None:
    api.tell(MARKETS, Answer(body=b"[]"))
    done = feed.run()
    assert (done.returncode, done.stderr) == (1, "error: the API lists no coins; try again later\n")


@pytest.fixture(scope="module", autouse=True)
def run_without_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Feed, subprocess.Popen[str]]]:
    """Start a run that finds nobody at its address. It gives up after 15 s, so it runs beside the other tests."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    feed = Feed(tmp_path_factory.mktemp("without network"), f"{url}/")
    with feed.start("--top", "100") as run:
        yield feed, run


def test_no_network_is_one_line(run_without_network: tuple[Feed, subprocess.Popen[str]]) -> None:
    feed, run = run_without_network
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 1
    address = feed.settings["COINGECKO_BASE_URL"].rstrip("/")
    assert errors == f"error: check the network: {address} can't be reached (Connection refused), 5 times\n"
    assert not [file for file in feed.data.rglob("*") if file.is_file()]


def test_an_interrupted_run_keeps_what_it_has(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("ethereum"), Answer(delay=60))
    with feed.start("--coins", "bitcoin,ethereum,solana") as run:
        wait_until(lambda: api.asked(chart_path("ethereum")))
        run.send_signal(signal.SIGINT)
        output, errors = run.communicate(timeout=20)
    assert run.returncode == 130
    assert errors == "error: interrupted; everything fetched so far is kept\n"
    assert output.startswith("3 coins, 31 prices, ")
    assert list(feed.payloads()) == ["coins_markets_1.json", "market_chart_bitcoin.json"]
    assert set(feed.column("coin_price_history", "asset_id")) == {"bitcoin"}
    assert not list(feed.data.rglob(".*"))


def test_requests_keep_their_distance(api: CoinGecko, feed: Feed) -> None:
    api.tell(chart_path("bitcoin"), Answer(500, headers={"Retry-After": "0"}))  # a second try counts, too
    assert feed.run("--coins", "bitcoin,ethereum", COINGECKO_CALLS_PER_MINUTE="120").returncode == 0
    moments = [request.at for request in api.requests]
    assert len(moments) == 4
    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) >= 0.45


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path, feed: Feed) -> None:
    feed.data = tmp_path / "file"
    feed.data.write_text("in the way")
    done = feed.run("--coins", "bitcoin")
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {feed.data}/raw/coingecko: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--days", "0"],
        ["--days", "366"],
        ["--days", "a week"],
        ["--top", "x"],
        ["--top", "0"],
        ["--top", "-1"],
        ["--coins", ""],
        ["--coins", "bitcoin,,ethereum"],
        ["--coins", "bitcoin", "--top", "100"],
        ["bitcoin"],
    ],
)
def test_bad_arguments_are_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bin/extract", *arguments])
    with pytest.raises(SystemExit) as refused:
        extract.parse_arguments()
    assert refused.value.code == 2
    assert "bin/extract market: error: " in capsys.readouterr().err


@pytest.mark.parametrize(
    "setting",
    [
        {"COINGECKO_CALLS_PER_MINUTE": "0"},
        {"COINGECKO_CALLS_PER_MINUTE": "many"},
        {"COINGECKO_TIMEOUT": "-1"},
        {"COINGECKO_BASE_URL": "api.coingecko.com"},
        {"GRANARY_RAW_URL": "nosuch://bucket"},
    ],
    ids=lambda setting: "=".join(*setting.items()),
)
def test_bad_settings_are_named(api: CoinGecko, feed: Feed, setting: dict[str, str]) -> None:
    done = feed.run("--coins", "bitcoin", **setting)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert next(iter(setting)) in done.stderr
    assert done.stderr.count("\n") == 1
    assert not api.requests


# -- The second place --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Start an S3 of our own, with the bucket `granary`; give the environment that leads to it."""
    moto_server = pytest.importorskip("moto.server")
    server = moto_server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    profile = tmp_path_factory.mktemp("aws") / "config"
    profile.write_text("[default]\n")
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_SESSION_TOKEN": "testing",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": str(profile),
        "AWS_PROFILE": "default",
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }
    client = s3_client(environment)
    client.create_bucket(Bucket="granary")
    yield environment
    server.stop()


def s3_client(environment: dict[str, str]) -> object:
    """Return a client for the S3 of our own."""
    boto3 = pytest.importorskip("boto3")
    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        region_name="us-east-1",
    )


def test_payloads_go_to_s3_as_well(feed: Feed, s3: dict[str, str]) -> None:
    done = feed.run("--coins", "bitcoin", GRANARY_RAW_URL="s3://granary/land ing/", **s3)
    assert (done.returncode, done.stderr) == (0, "")
    client = s3_client(s3)
    keys = [item["Key"] for item in client.list_objects_v2(Bucket="granary")["Contents"]]
    stored = {key: client.get_object(Bucket="granary", Key=key)["Body"].read() for key in keys}
    local = feed.data / "raw" / "coingecko"
    files = {f"land ing/coingecko/{file.relative_to(local)}": file.read_bytes() for file in local.glob("*/*")}
    assert stored == files
    assert len(files) >= 2


def test_a_failed_upload_is_one_line_and_the_files_stay(feed: Feed, s3: dict[str, str]) -> None:
    done = feed.run("--coins", "bitcoin,ethereum", GRANARY_RAW_URL="s3://no-such-bucket", **s3)
    assert done.returncode == 1
    assert re.match("error: upload to GRANARY_RAW_URL: .*bucket does not exist; this file and those", done.stderr)
    assert done.stderr.count("\n") == 1
    assert len(feed.payloads()) == 3
    assert len(feed.rows("coin_markets_snapshot")) == 2
    assert [bucket["Name"] for bucket in s3_client(s3).list_buckets()["Buckets"]] == ["granary"]  # it made none


def test_payloads_go_to_another_folder_as_well(tmp_path: Path, feed: Feed) -> None:
    pytest.importorskip("fsspec")
    done = feed.run("--coins", "bitcoin", GRANARY_RAW_URL=f"file://{tmp_path}/a second place")
    assert (done.returncode, done.stderr) == (0, "")
    first, second = feed.data / "raw", tmp_path / "a second place"
    files = {str(file.relative_to(second)): file.read_bytes() for file in second.rglob("*") if file.is_file()}
    assert files == {str(file.relative_to(first)): file.read_bytes() for file in first.rglob("*") if file.is_file()}
    assert files
