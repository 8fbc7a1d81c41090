"""Fetch the market feed from CoinGecko: current market data of coins, and their daily prices.

    bin/extract market --coins bitcoin,ethereum --days 7
    bin/extract market --top 1000

Only the largest coins are a snapshot of the market: leaderboard and segments come from --top, never from --coins.

Each payload is kept, byte for byte, in <data root>/raw/coingecko/<UTC date>/ (also as Parquet if pyarrow is
installed). The rows go to <data root>/incremental/market/ as batches; `bin/ingest market` loads them.

If something can't be fetched, the reason is printed, everything else is kept, and the exit code is 1.

Settings, in the environment or in .env:

  COINGECKO_API_KEY           a demo key, which is free, or a paid one; optional, but slower without
  COINGECKO_PLAN              demo (the default, also without a key), or pro for the key of a paid plan
  COINGECKO_CALLS_PER_MINUTE  default: 250 with a paid key, 30 with a demo key, 10 without a key
  COINGECKO_TIMEOUT           seconds to wait for a complete answer; default: 30
  COINGECKO_BASE_URL          default: the address of the plan
  GRANARY_RAW_URL             a second place for the payloads, such as s3://bucket/prefix (requirements/extract.txt)
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import datetime
import email.utils
import errno
import fcntl
import io
import json
import math
import os
import re
import shlex
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests
import tenacity
import tqdm
import urllib3

from granary import project
from granary.project import GranaryError, replacing

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:  # optional: requirements/extract.txt
    pyarrow = None


class Plan(NamedTuple):
    """What differs between CoinGecko's plans."""

    url: str
    header: str  # that carries the key
    calls_per_minute: int  # of the smallest plan of its kind


PLANS = {
    "demo": Plan("https://api.coingecko.com", "x-cg-demo-api-key", 30),
    "pro": Plan("https://pro-api.coingecko.com", "x-cg-pro-api-key", 250),
}
UTC = datetime.timezone.utc
PAGE_SIZE = 250  # coins: the maximum of coins/markets
MAX_DAYS = 365  # CoinGecko's free plans reach no further back
MAX_ATTEMPTS = 5  # per request
BACKOFF = tenacity.wait_exponential(multiplier=1)  # 1, 2, 4, 8 seconds
MAX_RETRY_AFTER = 120  # seconds
MAX_FAILURES_IN_A_ROW = 3  # requests

# The columns of the batches. The snapshot's are mapped to the names that the API uses.
SNAPSHOT = {
    "asset_id": "id",
    "symbol": "symbol",
    "name": "name",
    "current_price_usd": "current_price",
    "market_cap_usd": "market_cap",
    "market_cap_rank": "market_cap_rank",
    "total_volume_usd": "total_volume",
    "high_24h_usd": "high_24h",
    "low_24h_usd": "low_24h",
    "pct_change_24h": "price_change_percentage_24h",
    "circulating_supply": "circulating_supply",
    "total_supply": "total_supply",
    "max_supply": "max_supply",
    "ath_usd": "ath",
    "ath_date": "ath_date",
    "atl_usd": "atl",
    "atl_date": "atl_date",
    "last_updated_ts": "last_updated",
}
REQUEST = ("request_scope", "requested_count", "is_whole")  # the same for all coins of a snapshot
HISTORY = ("asset_id", "price_date", "close_price_usd", "market_cap_usd", "total_volume_usd", "source_ts_ms")
UNEXPECTED = "unexpected JSON; its payload is kept"
ERRORS = "https://docs.coingecko.com/docs/errors-and-rate-limits"
Row = Sequence[str | None]


class FetchError(GranaryError):
    """Something that could not be fetched or saved.

    retryable: another attempt may succeed, `retry_after` seconds later if the API named a time.
    fatal: the remaining requests would fail as well.
    payload: the answer, if it came as a success and is an error all the same.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, retry_after: float | None = None, fatal: bool = False
    ) -> None:
        super().__init__(message)
        self.retryable, self.retry_after, self.fatal = retryable, retry_after, fatal
        self.payload: bytes | None = None

    def __str__(self) -> str:
        return f"{self.args[0]}, {MAX_ATTEMPTS} times" if self.retryable else self.args[0]


def main() -> int:
    """Fetch what the command line asks for. Return 1 if anything failed, 130 if interrupted, else 0."""
    options = parse_arguments()
    project.load_env()
    root = Path(options.data_dir or project.data_folder())
    client, run, interrupted = Client(), Run(root, remote_folder()), False
    try:
        fetch_markets(client, run, options)
        fetch_charts(client, run, options.days)
    except GranaryError as error:
        run.fail(str(error))
    except KeyboardInterrupt:
        interrupted = True
        run.fail("interrupted; everything fetched so far is kept")
    run.write_batches(options)
    if run.markets and not run.is_whole and not options.coins:
        say("the snapshot is not whole: the market stays as of the latest whole one")
    fetched = f"{len(run.markets):,} coins, {len(run.history):,} prices, {run.files:,} files in {run.folder}"
    print(f"{fetched}, {run.failures:,} failed")
    if run.markets:
        print(f"load them: bin/ingest{f' --data-dir {shlex.quote(options.data_dir)}' * bool(options.data_dir)} market")
    return 130 if interrupted else 1 if run.failures else 0


# -- Settings ----------------------------------------------------------------------------------------------------------


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""

    def number_up_to(most: int) -> Callable[[str], int]:
        def number(text: str) -> int:
            if not re.fullmatch("[0-9]{1,6}", text) or not 1 <= int(text) <= most:
                raise argparse.ArgumentTypeError(f"invalid number {text}: choose 1 to {most}")
            return int(text)

        return number

    def coins(text: str) -> list[str]:
        ids = [coin.strip() for coin in text.split(",")]
        if not all(ids):
            raise argparse.ArgumentTypeError("empty id: write them as bitcoin,ethereum")
        return list(dict.fromkeys(ids))

    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/extract market", description=__doc__, formatter_class=as_written)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--coins", metavar="IDS", type=coins, help="CoinGecko's ids, separated by commas")
    # Without a default: argparse would accept `--coins bitcoin --top 100`.
    which.add_argument("--top", metavar="N", type=number_up_to(100_000), help="the N largest coins (default: 100)")
    days = number_up_to(MAX_DAYS)
    parser.add_argument("--days", metavar="N", type=days, default=30, help="days of prices, at most 365 (default: 30)")
    parser.add_argument("--data-dir", metavar="DIRECTORY", help="the data root (default: GRANARY_DATA, or data)")
    options = parser.parse_args()
    options.top = options.top or 100
    return options


def positive_number(name: str, default: float) -> float:
    """Return a setting that must be a positive number."""
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) or float(text) == 0:
        raise GranaryError(f"invalid {name}={text}: set a number above 0, or unset it for {default:g}")
    return float(text)


def remote_folder() -> tuple[Any, str] | None:
    """Return the file system and folder of GRANARY_RAW_URL, or None if it isn't set."""
    if not (url := os.environ.get("GRANARY_RAW_URL")):
        return None
    try:
        import fsspec  # optional: requirements/extract.txt

        filesystem, folder = fsspec.url_to_fs(url.rstrip("/"))
    except (ImportError, ValueError) as error:
        install = ".venv/bin/python -m pip install -r requirements/extract.txt"
        raise GranaryError(f"invalid GRANARY_RAW_URL: {error}; it may need:  {install}") from None
    filesystem.auto_mkdir = True  # for local folders; object stores have none
    return filesystem, folder


# -- The API -----------------------------------------------------------------------------------------------------------


def wait_time(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next attempt: what the API asks for, else an exponential backoff."""
    retry_after = state.outcome.exception().retry_after
    return BACKOFF(state) if retry_after is None else retry_after


def announce(state: tenacity.RetryCallState) -> None:
    """Tell the user why nothing happens during a long wait."""
    if state.upcoming_sleep >= 10:
        say(f"trying again in {state.upcoming_sleep:.0f} s: {state.outcome.exception().args[0]}")


class Client:
    """CoinGecko's API: one request at a time, within the limit of requests per minute."""

    def __init__(self) -> None:
        self.plan = os.environ.get("COINGECKO_PLAN") or "demo"
        if self.plan not in PLANS:
            raise GranaryError(f"invalid COINGECKO_PLAN={self.plan}: choose {' or '.join(PLANS)}")
        url = os.environ.get("COINGECKO_BASE_URL") or PLANS[self.plan].url
        if not re.fullmatch(r"https?://[^\s?#@]+", url):
            raise GranaryError("invalid COINGECKO_BASE_URL: set an address like https://api.coingecko.com, or unset it")
        self.base = url.rstrip("/").removesuffix("/api/v3")
        if other := [name for name, plan in PLANS.items() if name != self.plan and host_of(url) == host_of(plan.url)]:
            raise GranaryError(
                f"invalid COINGECKO_BASE_URL for COINGECKO_PLAN={self.plan}: set COINGECKO_PLAN={other[0]}, to which"
                f" {self.base} belongs, or unset COINGECKO_BASE_URL"
            )
        self.session = requests.Session()
        self.key = (os.environ.get("COINGECKO_API_KEY") or "").strip()
        if self.plan == "pro" and not self.key:
            raise GranaryError("COINGECKO_PLAN=pro needs a key: set COINGECKO_API_KEY, or unset COINGECKO_PLAN")
        if self.key:
            if not re.fullmatch("[!-~]+", self.key):  # an error message of requests would show it
                raise GranaryError("invalid COINGECKO_API_KEY: it contains a character that no key has; copy it again")
            # CoinGecko also accepts the key as a parameter, which would show up in error messages and logs.
            self.session.headers[PLANS[self.plan].header] = self.key
        # CoinGecko documents no limit without a key: 10 is cautious.
        default = PLANS[self.plan].calls_per_minute if self.key else 10
        self.gap = 60 / positive_number("COINGECKO_CALLS_PER_MINUTE", default)
        self.timeout = positive_number("COINGECKO_TIMEOUT", 30)
        self.next_request_at = time.monotonic()

    @tenacity.retry(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, FetchError) and error.retryable),
        stop=tenacity.stop_after_attempt(MAX_ATTEMPTS),
        wait=wait_time,
        before_sleep=announce,
        reraise=True,
    )
    def get(self, path: str, **params: str | int) -> tuple[bytes, Any]:
        """Return the body of an answer, and its JSON with all numbers as text, so that no digit is lost."""
        time.sleep(max(0.0, self.next_request_at - time.monotonic()))
        self.next_request_at = time.monotonic() + self.gap
        deadline = time.monotonic() + self.timeout
        options = {"timeout": self.timeout, "stream": True, "allow_redirects": False}  # the key stays with this host
        try:
            with self.session.get(f"{self.base}/api/v3/{path}", params=params, **options) as response:
                body = read_body(response, deadline)
            self.check(response, body)
            return body, json.loads(body, parse_float=str, parse_int=str, parse_constant=str)
        except (requests.ReadTimeout, urllib3.exceptions.TimeoutError, TimeoutError):
            raise FetchError(f"no complete answer within {self.timeout:g} s", retryable=True) from None
        except requests.RequestException as error:
            message = f"check the network: {self.base} can't be reached ({reason(error)})"
            raise FetchError(message, retryable=True, fatal=True) from None
        except urllib3.exceptions.HTTPError:
            raise FetchError("the answer was cut off", retryable=True) from None
        except (ValueError, RecursionError):
            raise FetchError("the answer is not valid JSON", retryable=True) from None

    def check(self, response: requests.Response, body: bytes) -> None:
        """Raise FetchError unless the request succeeded. The message leaves out the body, which may repeat the key."""
        status, code, wait = response.status_code, error_code(body), retry_after(response)
        if status == 200 and code is None:
            return
        try:
            self.refuse(status, code, wait)
        except FetchError as error:
            if status == 200:
                error.payload = body.replace(self.key.encode(), b"...") if self.key else body
            raise

    def refuse(self, status: int, code: int | None, wait: float | None) -> None:
        """Raise FetchError for an answer that is an error, by its HTTP status or by the code in its body."""
        shown = f"HTTP {status}" + (f", error {code}" if code else "")
        for kind, plan, key in ((10010, "pro", "a paid plan"), (10011, "demo", "the demo plan")):
            if code == kind:
                also = " and unset COINGECKO_BASE_URL" if os.environ.get("COINGECKO_BASE_URL") else ""
                raise FetchError(f"set COINGECKO_PLAN={plan}{also}: the key is one of {key} ({shown})", fatal=True)
        if code == 10005:
            raise FetchError(f"ask for less, or change the plan: the key's plan excludes it ({shown})", fatal=True)
        if code and (code in (401, 403, 404, 408, 429) or 500 <= code < 600):  # the body has the HTTP status
            status = code
        if status in (401, 403) or code == 10002:
            correct = f"correct COINGECKO_API_KEY, or COINGECKO_PLAN={self.plan}"
            remedy = correct if self.key else "set COINGECKO_API_KEY (a demo key is free)"
            raise FetchError(f"{remedy}: {self.base} refused access ({shown})", fatal=True)
        if status == 404:
            raise FetchError(f"unknown to the API ({shown})")
        if wait and wait > MAX_RETRY_AFTER:
            raise FetchError(f"run bin/extract again in {wait:,.0f} s, as the API asks ({shown})", fatal=True)
        if status == 429:
            raise FetchError(f"too many requests ({shown})", retryable=True, retry_after=wait, fatal=True)
        if status >= 500 or status == 408:
            raise FetchError(shown, retryable=True, retry_after=wait)
        raise FetchError(f"{shown}, see {ERRORS}" if code else shown)


def host_of(url: str) -> str | None:
    """Return the host of an address, in lower case."""
    return urllib.parse.urlsplit(url).hostname


def error_code(body: bytes) -> int | None:
    """Return the code of an error in an answer, whatever its HTTP status; None without one.

    CoinGecko writes {"error_code": 10011, ...}, or the same below "status", or below "error" and "status".
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    while isinstance(found, dict):
        if isinstance(code := found.get("error_code"), int):
            return code
        found = found.get("error") or found.get("status")
    return None


def read_body(response: requests.Response, deadline: float) -> bytes:
    """Return the body of an answer. Raise TimeoutError if it isn't complete at the deadline."""
    body = bytearray()
    while chunk := response.raw.read1(1 << 16, decode_content=True):  # what has arrived, without waiting for more
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds that Retry-After asks for, as a number or as a date; None without a valid one."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]+", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except ValueError:
        return None


def reason(error: requests.RequestException) -> str:
    """Return the cause in a long message: Connection refused."""
    match = re.search(r"\[Errno -?\d+\] ([^\]'\")]+)", str(error))
    return match[1] if match else type(error).__name__


# -- What is kept ------------------------------------------------------------------------------------------------------


class Run:
    """The state of one run: where its files go, what it has fetched, and what failed."""

    def __init__(self, root: Path, remote: tuple[Any, str] | None) -> None:
        self.root, self.remote = root, remote
        self.started = reserve_timestamp(root / "raw" / "coingecko")
        self.folder = root / "raw" / "coingecko" / f"{self.started:%Y-%m-%d}"
        self.markets: dict[str, Row] = {}
        self.is_whole = False  # whether `markets` has all that was asked for
        self.history: list[Row] = []
        self.files = self.failures = self.failures_in_a_row = 0

    def keep(self, name: str, content: bytes) -> None:
        """Save a payload, here and at GRANARY_RAW_URL."""
        path = self.folder / f"{self.started:%H%M%SZ}_{name}"
        save(path, content)
        self.files += 1
        if self.remote:
            filesystem, folder = self.remote
            try:
                filesystem.pipe_file(f"{folder}/coingecko/{path.parent.name}/{path.name}", content)
            except Exception as error:  # each file system has its own
                self.remote = None  # instead of failing again with each of the next files
                what = " ".join(str(error).split()) or type(error).__name__
                self.fail(f"upload to GRANARY_RAW_URL: {what}; this file and those after it are in {self.folder} only")

    def keep_as_parquet(self, name: str, columns: Iterable[str], rows: list[Row]) -> None:
        """Save rows as Parquet if pyarrow is installed, all values as text, so that no digit is lost."""
        if pyarrow and rows:
            values = [pyarrow.array(column, pyarrow.string()) for column in zip(*rows, strict=True)]
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(pyarrow.table(values, names=list(columns)), sink)
            self.keep(f"{name}.parquet", sink.getvalue().to_pybytes())

    def write_batches(self, options: argparse.Namespace) -> None:
        """Write what was fetched as batches for bin/ingest; an entity without rows gets none.

        Each row of the snapshot says what was asked for, and whether all of it is there.
        """
        asked = ("coins", str(len(options.coins))) if options.coins else ("top", str(options.top))
        request = (*asked, "true" if self.is_whole else "false")
        snapshot = [(f"{self.started:%Y-%m-%dT%H:%M:%SZ}", *row, *request) for row in self.markets.values()]
        batches = {
            "coin_markets_snapshot": [("ingested_at_ts", *SNAPSHOT, *REQUEST), *snapshot],
            "coin_price_history": [HISTORY, *self.history],
        }
        for entity, rows in batches.items():
            if len(rows) > 1:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows(rows)
                path = self.root / "incremental" / "market" / entity / f"{self.started:%Y-%m-%dT%H%M%SZ}.csv"
                save(path, text.getvalue().encode())

    @contextlib.contextmanager
    def continuing(self, what: str, name: str) -> Iterator[None]:
        """Report a failure and continue, unless it is fatal or requests keep failing. `name` is that of the payload."""
        try:
            yield
            self.failures_in_a_row = 0
        except FetchError as error:
            if error.payload is not None:
                self.keep(f"{name}.json", error.payload)
            if error.fatal:
                raise
            self.fail(f"{what}: {error}")
            self.failures_in_a_row += error.retryable
            if self.failures_in_a_row == MAX_FAILURES_IN_A_ROW:
                message = f"run bin/extract again later: {MAX_FAILURES_IN_A_ROW} requests in a row failed"
                raise GranaryError(message) from None

    def fail(self, message: str) -> None:
        """Print what failed, and count it."""
        say(f"error: {message}")
        self.failures += 1


def reserve_timestamp(folder: Path) -> datetime.datetime:
    """Return the time that names this run's files: now, or the next second that no earlier run has used.

    The folder stays locked until the process ends: two runs at once would exceed the rate limit.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GranaryError(f"another bin/extract is writing to {folder}; wait until it ends") from None
    except OSError as error:
        raise GranaryError(f"{folder}: {error.strerror}; make it writable, or name another with --data-dir") from None
    while True:
        now = datetime.datetime.now(UTC).replace(microsecond=0)
        if not any((folder / f"{now:%Y-%m-%d}").glob(f"{now:%H%M%SZ}_*")):
            return now
        time.sleep(0.1)


def save(path: Path, content: bytes) -> None:
    """Write a file atomically. bin/ingest ignores its hidden partial file."""
    try:
        with replacing(path) as file:
            file.write(content)
    except OSError as error:
        raise FetchError(f"{path}: {error.strerror}", fatal=error.errno != errno.ENAMETOOLONG) from None


def say(message: str) -> None:
    """Print a line to stderr, above the progress bar."""
    tqdm.tqdm.write(message, file=sys.stderr)


# -- From payloads to rows ---------------------------------------------------------------------------------------------


def fetch_markets(client: Client, run: Run, options: argparse.Namespace) -> None:
    """Fetch the market data of the coins that were asked for, or of the largest ones."""
    if options.coins:
        chunks = [options.coins[start : start + PAGE_SIZE] for start in range(0, len(options.coins), PAGE_SIZE)]
        requested = [({"ids": ",".join(chunk), "page": 1}, chunk) for chunk in chunks]
    else:
        requested = [({"page": page}, []) for page in range(1, math.ceil(options.top / PAGE_SIZE) + 1)]
    is_whole = True
    for number, (params, named) in enumerate(requested, start=1):
        name, has_arrived = f"coins_markets_{number}", False
        with run.continuing(f"coins/markets, page {number}", name):
            common = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": PAGE_SIZE}
            body, page = client.get("coins/markets", **common, **params)
            run.keep(f"{name}.json", body)
            coins = market_rows(page)
            fields = list(dict.fromkeys(field for coin in coins for field in coin))
            run.keep_as_parquet(name, fields, [[coin.get(field) for field in fields] for coin in coins])
            found = {coin["id"]: [coin.get(field) for field in SNAPSHOT.values()] for coin in coins}
            has_arrived = set(named) <= found.keys()
            for asset_id in named or found:
                if asset_id not in found:
                    run.fail(f"{asset_id}: unknown to the API; an id is the end of a coin's address at coingecko.com")
                elif named or len(run.markets) < options.top:  # a coin may come twice: ranks change between pages
                    run.markets.setdefault(asset_id, found[asset_id])
            if not named and not coins:
                break  # after the last page
        is_whole = is_whole and has_arrived
    run.is_whole = is_whole
    if not run.markets and not run.failures:
        run.fail("the API lists no coins; try again later")


def fetch_charts(client: Client, run: Run, days: int) -> None:
    """Fetch the daily prices of each coin that has market data."""
    with tqdm.tqdm(
        run.markets, desc="prices", unit="coin", leave=False, disable=None
    ) as bar:  # None: only on a terminal
        for asset_id in bar:
            quoted = urllib.parse.quote(asset_id, safe="")  # an id may contain a slash
            name = f"market_chart_{quoted}"
            with run.continuing(quoted, name):
                params = {"vs_currency": "usd", "days": days, "interval": "daily"}
                body, chart = client.get(f"coins/{quoted}/market_chart", **params)
                run.keep(f"{name}.json", body)
                rows = price_rows(asset_id, chart)
                run.history.extend(rows)
                run.keep_as_parquet(name, HISTORY, rows)


def market_rows(page: Any) -> list[dict[str, str | None]]:
    """Return the coins of a page, all values as text."""
    try:
        coins = [{field: as_text(value) for field, value in coin.items()} for coin in page]
        if not all(coin["id"] for coin in coins):
            raise ValueError("a coin without an id")
    except (AttributeError, KeyError, TypeError, ValueError):
        raise FetchError(UNEXPECTED) from None
    return coins


def price_rows(asset_id: str, chart: Any) -> list[Row]:
    """Return one row per point of a chart, with the market cap and the volume of the same moment.

    The last point is the current price, not a close. It is delivered like the others, with its time: the models only
    use points at 00:00 UTC.
    """
    try:
        caps, volumes = dict(chart["market_caps"]), dict(chart["total_volumes"])
        points = [(moment, price, caps.get(moment), volumes.get(moment)) for moment, price in chart["prices"]]
        rows = [(asset_id, utc_date(moment), *map(as_text, values), moment) for moment, *values in points]
    except (KeyError, OverflowError, TypeError, ValueError):
        raise FetchError(UNEXPECTED) from None
    if all(price is None for _, price, *_ in points):
        raise FetchError("no prices for these days; its payload is kept: ask for more --days, or leave the coin out")
    return rows


def utc_date(milliseconds: str) -> str:
    """Return the UTC date of a moment."""
    return str(datetime.date(1970, 1, 1) + datetime.timedelta(milliseconds=float(milliseconds)))


def as_text(value: Any) -> str | None:
    """Return a JSON value as text; null stays None. Lone surrogates, which UTF-8 can't encode, become \\ud800."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "backslashreplace").decode()
