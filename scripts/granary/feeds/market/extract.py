"""Fetch the market feed from CoinGecko: the coins' current market data, and the daily prices of each.

    bin/extract --coins bitcoin,ethereum --days 7
    bin/extract --top 1000

Each payload is kept, byte for byte, in <data root>/raw/coingecko/<UTC date>/ (where pyarrow is installed, as Parquet
too). From the payloads it makes batches in <data root>/incremental/market/; `bin/ingest market` loads them.

What can't be fetched is named with the reason, the rest is kept, and the exit code is 1.

Settings, in the environment or in .env:

  COINGECKO_API_KEY           a demo key, which is free; it also works without one, more slowly
  COINGECKO_CALLS_PER_MINUTE  default: 30 with a key, 10 without
  COINGECKO_TIMEOUT           seconds that an answer may take; default: 30
  COINGECKO_BASE_URL          default: https://api.coingecko.com
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
from typing import Any

import requests
import tenacity
import tqdm
import urllib3

from granary import project
from granary.project import GranaryError

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:  # it is optional: requirements/extract.txt
    pyarrow = None

UTC = datetime.timezone.utc
PAGE = 250  # coins: the most that one answer of coins/markets holds
LONGEST_HISTORY = 365  # days: CoinGecko's free plans reach no further back
TRIES = 5  # per request
BACKOFF = tenacity.wait_exponential(multiplier=1)  # 1, 2, 4, 8 seconds
LONGEST_WAIT = 120  # seconds that the API may ask for
PATIENCE = 3  # requests in a row that may stay without a good answer

# The columns of the batches; of the snapshot, with the API's name for each.
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
HISTORY = ("asset_id", "price_date", "close_price_usd", "market_cap_usd", "total_volume_usd", "source_ts_ms")
UNEXPECTED = "JSON of an unexpected shape; its payload is kept"
Row = Sequence[str | None]


class Failed(GranaryError):
    """Something that could not be fetched or kept.

    again: another try may help, after `wait` seconds if the API named them. everywhere: the rest would fail as well.
    """

    def __init__(self, message: str, again: bool = False, wait: float | None = None, everywhere: bool = False) -> None:
        super().__init__(message)
        self.again, self.wait, self.everywhere = again, wait, everywhere

    def __str__(self) -> str:
        return f"{self.args[0]}, {TRIES} times" if self.again else self.args[0]


def main() -> int:
    """Fetch what the command line names; return 1 if anything failed, 130 if interrupted, else 0."""
    options = parse_arguments()
    project.load_env()
    root = Path(options.data_dir or project.ROOT / (os.environ.get("GRANARY_DATA") or "data"))
    client, run, interrupted = Client(), Run(root, remote_folder()), False
    try:
        fetch_markets(client, run, options)
        fetch_charts(client, run, options.days)
    except GranaryError as error:
        run.fail(str(error))
    except KeyboardInterrupt:
        interrupted = True
        run.fail("interrupted; what was fetched until then is kept")
    run.write_batches()
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
                raise argparse.ArgumentTypeError(f"{text} is no number from 1 to {most}")
            return int(text)

        return number

    def coins(text: str) -> list[str]:
        ids = [coin.strip() for coin in text.split(",")]
        if not all(ids):
            raise argparse.ArgumentTypeError("a name is empty; write it like bitcoin,ethereum")
        return list(dict.fromkeys(ids))

    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/extract", description=__doc__, formatter_class=as_written)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--coins", metavar="IDS", type=coins, help="CoinGecko's ids, separated by commas")
    # No default here: argparse would not notice `--coins bitcoin --top 100`.
    which.add_argument("--top", metavar="N", type=number_up_to(100_000), help="the N largest ones (default: 100)")
    days = number_up_to(LONGEST_HISTORY)
    parser.add_argument("--days", metavar="N", type=days, default=30, help="of daily prices, at most 365 (default: 30)")
    parser.add_argument("--data-dir", metavar="D", help="the data root (default: GRANARY_DATA, or data)")
    options = parser.parse_args()
    options.top = options.top or 100
    return options


def positive_number(name: str, default: float) -> float:
    """Return a setting that is a number above zero."""
    text = os.environ.get(name) or str(default)
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]+)?", text) or float(text) == 0:
        raise GranaryError(f"{name}={text} is no number above 0; correct it, or unset it for {default:g}")
    return float(text)


def remote_folder() -> tuple[Any, str] | None:
    """Return the file system and folder that GRANARY_RAW_URL names, or None where it isn't set."""
    if not (url := os.environ.get("GRANARY_RAW_URL")):
        return None
    try:
        import fsspec  # only here: all else works without it

        filesystem, folder = fsspec.url_to_fs(url.rstrip("/"))
    except (ImportError, ValueError) as error:
        install = ".venv/bin/python -m pip install -r requirements/extract.txt"
        raise GranaryError(f"GRANARY_RAW_URL can't be used: {error}; what it needs:  {install}") from None
    filesystem.auto_mkdir = True  # a local one has to make its folders; object stores have none
    return filesystem, folder


# -- The API -----------------------------------------------------------------------------------------------------------


def pause(state: tenacity.RetryCallState) -> float:
    """Return the seconds until the next try: those that the API asks for, else ever more."""
    asked = state.outcome.exception().wait
    return BACKOFF(state) if asked is None else asked


def announce(state: tenacity.RetryCallState) -> None:
    """Say why nothing happens, if it takes so long that people wonder."""
    if state.upcoming_sleep >= 10:
        say(f"waiting for {state.upcoming_sleep:.0f} s, then trying again: {state.outcome.exception().args[0]}")


class Client:
    """CoinGecko's API: one request at a time, and no more of them per minute than allowed."""

    def __init__(self) -> None:
        url = os.environ.get("COINGECKO_BASE_URL") or "https://api.coingecko.com"
        if not re.fullmatch(r"https?://[^\s?#@]+", url):
            raise GranaryError("COINGECKO_BASE_URL is no address like https://api.coingecko.com; correct or unset it")
        self.base = url.rstrip("/").removesuffix("/api/v3")
        self.session = requests.Session()
        self.key = (os.environ.get("COINGECKO_API_KEY") or "").strip()
        if self.key:
            if not re.fullmatch("[!-~]+", self.key):  # requests' own message would show it
                raise GranaryError("COINGECKO_API_KEY holds a character that no key has; copy it again")
            # CoinGecko documents two ways: this header, and x_cg_demo_api_key as a parameter. A parameter would be part
            # of the address, and so of messages and logs on the way.
            self.session.headers["x-cg-demo-api-key"] = self.key
        # CoinGecko's documentation grants a demo key 30, lately more. Without one it names no number: 10 is cautious.
        self.gap = 60 / positive_number("COINGECKO_CALLS_PER_MINUTE", 30 if self.key else 10)
        self.timeout = positive_number("COINGECKO_TIMEOUT", 30)
        self.next_request_at = time.monotonic()

    @tenacity.retry(
        retry=tenacity.retry_if_exception(lambda error: isinstance(error, Failed) and error.again),
        stop=tenacity.stop_after_attempt(TRIES),
        wait=pause,
        before_sleep=announce,
        reraise=True,
    )
    def get(self, path: str, **params: str | int) -> tuple[bytes, Any]:
        """Return an answer's body, and the JSON in it, with its numbers as text, digit by digit."""
        time.sleep(max(0.0, self.next_request_at - time.monotonic()))
        self.next_request_at = time.monotonic() + self.gap
        deadline = time.monotonic() + self.timeout
        options = {"timeout": self.timeout, "stream": True, "allow_redirects": False}  # the key is for this host only
        try:
            with self.session.get(f"{self.base}/api/v3/{path}", params=params, **options) as response:
                self.check(response)
                body = read_body(response, deadline)
            return body, json.loads(body, parse_float=str, parse_int=str, parse_constant=str)
        except (requests.ReadTimeout, urllib3.exceptions.TimeoutError, TimeoutError):
            raise Failed(f"no whole answer in {self.timeout:g} s", again=True) from None
        except requests.RequestException as error:
            message = f"check the network: {self.base} can't be reached ({reason(error)})"
            raise Failed(message, again=True, everywhere=True) from None
        except urllib3.exceptions.HTTPError:
            raise Failed("the answer is cut off", again=True) from None
        except (ValueError, RecursionError):
            raise Failed("the answer is no JSON", again=True) from None

    def check(self, response: requests.Response) -> None:
        """Raise Failed unless the answer is a good one. Never show its body: it might repeat the key."""
        status, wait = response.status_code, retry_after(response)
        if status == 200:
            return
        if status in (401, 403):
            way_out = "correct COINGECKO_API_KEY" if self.key else "set COINGECKO_API_KEY (a demo key is free)"
            raise Failed(f"{way_out}: {self.base} refuses access (HTTP {status})", everywhere=True)
        if status == 404:
            raise Failed("unknown to the API (HTTP 404)")
        if wait and wait > LONGEST_WAIT:
            raise Failed(f"run bin/extract again in {wait:,.0f} s, as the API asks (HTTP {status})", everywhere=True)
        if status == 429:
            raise Failed("too many requests for the API (HTTP 429)", again=True, wait=wait, everywhere=True)
        raise Failed(f"HTTP {status}", again=status >= 500 or status == 408, wait=wait)


def read_body(response: requests.Response, deadline: float) -> bytes:
    """Return the body of an answer. Raise TimeoutError where it trickles in until after the deadline."""
    body = bytearray()
    while chunk := response.raw.read1(1 << 16, decode_content=True):  # what is there, without waiting for more
        body += chunk
        if time.monotonic() > deadline:
            raise TimeoutError
    return bytes(body)


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds that an answer asks to wait, written as a number or as a date; None where it doesn't."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]+", text):
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time()) if text else None
    except ValueError:
        return None


def reason(error: requests.RequestException) -> str:
    """Return the few words of a long message that say what is wrong: Connection refused."""
    match = re.search(r"\[Errno -?\d+\] ([^\]'\")]+)", str(error))
    return match[1] if match else type(error).__name__


# -- What is kept ------------------------------------------------------------------------------------------------------


class Run:
    """One run of the command: where its files go, what it has fetched, what has failed."""

    def __init__(self, root: Path, remote: tuple[Any, str] | None) -> None:
        self.root, self.remote = root, remote
        self.started = claim_a_second(root / "raw" / "coingecko")
        self.folder = root / "raw" / "coingecko" / f"{self.started:%Y-%m-%d}"
        self.markets: dict[str, Row] = {}
        self.history: list[Row] = []
        self.files = self.failures = self.unanswered = 0

    def keep(self, name: str, content: bytes) -> None:
        """Write a file of this run, here and at GRANARY_RAW_URL."""
        path = self.folder / f"{self.started:%H%M%SZ}_{name}"
        save(path, content)
        self.files += 1
        if self.remote:
            filesystem, folder = self.remote
            try:
                filesystem.pipe_file(f"{folder}/coingecko/{path.parent.name}/{path.name}", content)
            except Exception as error:  # each file system has exceptions of its own
                self.remote = None  # or each of the next files would have to fail, too
                what = " ".join(str(error).split()) or type(error).__name__
                self.fail(f"upload to GRANARY_RAW_URL: {what}; this file and those after it are in {self.folder} only")

    def keep_as_parquet(self, name: str, columns: Iterable[str], rows: list[Row]) -> None:
        """Keep rows as Parquet where pyarrow is installed. Values are text, as in raw, so that no digit is lost."""
        if pyarrow and rows:
            values = [pyarrow.array(column, pyarrow.string()) for column in zip(*rows, strict=True)]
            sink = pyarrow.BufferOutputStream()
            pyarrow.parquet.write_table(pyarrow.table(values, names=list(columns)), sink)
            self.keep(f"{name}.parquet", sink.getvalue().to_pybytes())

    def write_batches(self) -> None:
        """Write what was fetched as batches for bin/ingest, none of them empty."""
        snapshot = [(f"{self.started:%Y-%m-%dT%H:%M:%SZ}", *row) for row in self.markets.values()]
        batches = {
            "coin_markets_snapshot": [("ingested_at_ts", *SNAPSHOT), *snapshot],
            "coin_price_history": [HISTORY, *self.history],
        }
        for entity, rows in batches.items():
            if len(rows) > 1:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerows(rows)
                path = self.root / "incremental" / "market" / entity / f"{self.started:%Y-%m-%dT%H%M%SZ}.csv"
                save(path, text.getvalue().encode())

    @contextlib.contextmanager
    def going_on(self, what: str) -> Iterator[None]:
        """Say what has failed and go on, unless the next requests would fail as well, or already did."""
        try:
            yield
            self.unanswered = 0
        except Failed as error:
            if error.everywhere:
                raise
            self.fail(f"{what}: {error}")
            self.unanswered += error.again
            if self.unanswered == PATIENCE:
                raise GranaryError(f"run bin/extract again later: {PATIENCE} requests in a row failed") from None

    def fail(self, message: str) -> None:
        """Say what has failed, and count it."""
        say(f"error: {message}")
        self.failures += 1


def claim_a_second(folder: Path) -> datetime.datetime:
    """Return the time that names this run's files: now, or the next second that no former run has.

    The folder is locked until the process ends: two runs at once would break the rate limit together.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise GranaryError(f"another bin/extract is writing to {folder}; wait until it is done") from None
    except OSError as error:
        raise GranaryError(f"{folder}: {error.strerror}; make it writable, or name another with --data-dir") from None
    while True:
        now = datetime.datetime.now(UTC).replace(microsecond=0)
        if not any((folder / f"{now:%Y-%m-%d}").glob(f"{now:%H%M%SZ}_*")):
            return now
        time.sleep(0.1)


def save(path: Path, content: bytes) -> None:
    """Write a file whole or not at all. bin/ingest leaves names that begin with a dot alone: it sees no half a file."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        raise Failed(f"{path}: {error.strerror}", everywhere=error.errno != errno.ENAMETOOLONG) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def say(message: str) -> None:
    """Print a line on stderr, above the progress bar if there is one."""
    tqdm.tqdm.write(message, file=sys.stderr)


# -- From payloads to rows ---------------------------------------------------------------------------------------------


def fetch_markets(client: Client, run: Run, options: argparse.Namespace) -> None:
    """Fetch the current market data of the coins that are named, or of the top ones."""
    if options.coins:
        chunks = [options.coins[start : start + PAGE] for start in range(0, len(options.coins), PAGE)]
        requested = [({"ids": ",".join(chunk), "page": 1}, chunk) for chunk in chunks]
    else:
        requested = [({"page": page}, []) for page in range(1, math.ceil(options.top / PAGE) + 1)]
    for number, (params, named) in enumerate(requested, start=1):
        name = f"coins_markets_{number}"
        with run.going_on(f"coins/markets, page {number}"):
            common = {"vs_currency": "usd", "order": "market_cap_desc", "per_page": PAGE}
            body, page = client.get("coins/markets", **common, **params)
            run.keep(f"{name}.json", body)
            coins = market_rows(page)
            fields = list(dict.fromkeys(field for coin in coins for field in coin))
            run.keep_as_parquet(name, fields, [[coin.get(field) for field in fields] for coin in coins])
            found = {coin["id"]: [coin.get(field) for field in SNAPSHOT.values()] for coin in coins}
            for asset_id in named or found:
                if asset_id not in found:
                    run.fail(f"{asset_id}: unknown to the API; an id is the end of a coin's address at coingecko.com")
                elif named or len(run.markets) < options.top:  # ranks move between pages, so a coin may come twice
                    run.markets.setdefault(asset_id, found[asset_id])
            if not named and not coins:
                break  # there are no more
    if not run.markets and not run.failures:
        run.fail("the API lists no coins; try again later")


def fetch_charts(client: Client, run: Run, days: int) -> None:
    """Fetch the daily prices of each coin whose market data was found."""
    with tqdm.tqdm(run.markets, desc="prices", unit="coin", leave=False, disable=None) as bar:  # None: a terminal only
        for asset_id in bar:
            quoted = urllib.parse.quote(asset_id, safe="")  # foreign text: it might hold a slash
            name = f"market_chart_{quoted}"
            with run.going_on(quoted):
                params = {"vs_currency": "usd", "days": days, "interval": "daily"}
                body, chart = client.get(f"coins/{quoted}/market_chart", **params)
                run.keep(f"{name}.json", body)
                rows = price_rows(asset_id, chart)
                run.history.extend(rows)
                run.keep_as_parquet(name, HISTORY, rows)


def market_rows(page: Any) -> list[dict[str, str | None]]:
    """Return a page's coins, each value as text."""
    try:
        coins = [{field: as_text(value) for field, value in coin.items()} for coin in page]
        if not all(coin["id"] for coin in coins):
            raise ValueError("a coin without an id")
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Failed(UNEXPECTED) from None
    return coins


def price_rows(asset_id: str, chart: Any) -> list[Row]:
    """Return a row for each point of a chart, with the market cap and the volume of the same moment.

    The last point is that of this moment, not of a day's end. It is delivered with the others, under its own time: the
    models take the points at 00:00 UTC only, so it stands in for no day's close.
    """
    try:
        caps, volumes = dict(chart["market_caps"]), dict(chart["total_volumes"])
        points = [(moment, price, caps.get(moment), volumes.get(moment)) for moment, price in chart["prices"]]
        return [(asset_id, utc_date(moment), *map(as_text, values), moment) for moment, *values in points]
    except (KeyError, OverflowError, TypeError, ValueError):
        raise Failed(UNEXPECTED) from None


def utc_date(milliseconds: str) -> str:
    """Return the day in which a moment lies."""
    return str(datetime.date(1970, 1, 1) + datetime.timedelta(milliseconds=float(milliseconds)))


def as_text(value: Any) -> str | None:
    """Return a JSON value as text; null stays None. Half characters, which UTF-8 can't hold, are written as \\ud800."""
    if value is not None:
        value = value if isinstance(value, str) else json.dumps(value)
        return value.encode("utf-8", "backslashreplace").decode()
    return None


if __name__ == "__main__":
    project.run_main(main)
