"""A local HTTP server that behaves as CoinGecko's API does, or misbehaves as a test tells it to.

Tests talk to it over a real connection, so that time limits, cut-off answers and headers are real, too.
"""

from __future__ import annotations

import json
import threading
import time
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MARKETS = "/api/v3/coins/markets"
MIDNIGHT = 1_770_076_800_000  # milliseconds: 2026-02-03 00:00 UTC
DAY = 86_400_000


def chart_path(asset_id: str) -> str:
    """Return the path of a coin's chart."""
    return f"/api/v3/coins/{asset_id}/market_chart"


@dataclass(frozen=True)
class Answer:
    """An answer that a test has written."""

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0  # seconds before it begins
    trickle: float = 0  # seconds between two of its bytes
    missing: int = 0  # bytes that are announced and never sent


@dataclass(frozen=True)
class Request:
    """A request that has arrived."""

    at: float  # seconds
    path: str
    query: dict[str, str]
    headers: Message


class CoinGecko:
    """The server. It knows `coins`, the largest first, gives a path's next answers as told, and remembers requests."""

    def __init__(self, coins: list[str]) -> None:
        self.coins = [market(asset_id, rank) for rank, asset_id in enumerate(coins, start=1)]
        self.told: dict[str, list[Answer]] = defaultdict(list)
        self.sent: dict[str, list[bytes]] = defaultdict(list)  # bodies, by path
        self.requests: list[Request] = []
        self.closing = threading.Event()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"api": self}))
        self.server.daemon_threads, self.server.block_on_close = True, False
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> CoinGecko:
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()

    def tell(self, path: str, *answers: Answer) -> None:
        """Let the next answers to a path be these; after them come regular ones."""
        self.told[path] += answers

    def asked(self, path: str) -> list[Request]:
        """Return the requests for a path."""
        return [request for request in self.requests if request.path == path]

    def answer(self, path: str, query: dict[str, str]) -> Answer:
        """Return the answer to a request."""
        if self.told[path]:
            return self.told[path].pop(0)
        ids = [coin["id"] for coin in self.coins]
        if path == MARKETS:
            found = [c for c in self.coins if c["id"] in query["ids"].split(",")] if "ids" in query else self.coins
            size = min(int(query.get("per_page", 100)), 250)
            start = (int(query.get("page", 1)) - 1) * size
            return Answer(body=json.dumps(found[start : start + size]).encode())
        if path in map(chart_path, ids):
            return Answer(body=json.dumps(chart(int(query["days"]))).encode())
        return Answer(404, b'{"error":"coin not found"}')


class Handler(BaseHTTPRequestHandler):
    """Takes requests, one connection for many of them, as the API does."""

    api: CoinGecko
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or each answer would take 40 ms

    def do_GET(self) -> None:
        """Answer a request."""
        path, _, query = self.path.partition("?")
        params = dict(urllib.parse.parse_qsl(query))
        path = urllib.parse.unquote(path)
        self.api.requests.append(Request(time.monotonic(), path, params, self.headers))
        answer = self.api.answer(path, params)
        self.api.closing.wait(answer.delay)
        try:
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body) + answer.missing))
            self.end_headers()
            for start in range(0, len(answer.body), 1 if answer.trickle else len(answer.body)):
                self.wfile.write(answer.body[start : start + 1] if answer.trickle else answer.body)
                if self.api.closing.wait(answer.trickle):
                    break
        except ConnectionError:  # the client has waited long enough
            self.close_connection = True
        self.close_connection |= bool(answer.missing)
        self.api.sent[path].append(answer.body)

    def log_message(self, *_: Any) -> None:
        """Keep the tests' output clean."""


def market(asset_id: str, rank: int) -> dict[str, Any]:
    """Return a coin as coins/markets shows it."""
    return {
        "id": asset_id,
        "symbol": asset_id[:3],
        "name": asset_id.title(),
        "image": f"https://example.org/{asset_id}.png",
        "current_price": 70187.5 / rank,
        "market_cap": 1_381_651_251_183 // rank,
        "market_cap_rank": rank,
        "fully_diluted_valuation": None,
        "total_volume": 20_154_184_933,
        "high_24h": 70215,
        "low_24h": 68060,
        "price_change_24h": 2126.88,
        "price_change_percentage_24h": 3.12502,
        "market_cap_change_24h": 44_287_678_051,
        "market_cap_change_percentage_24h": 3.31157,
        "circulating_supply": 19_675_987.0,
        "total_supply": 21_000_000.0,
        "max_supply": None,
        "ath": 73738,
        "ath_change_percentage": -4.77063,
        "ath_date": "2024-03-14T07:10:36.635Z",
        "atl": 67.81,
        "atl_change_percentage": 103455.83335,
        "atl_date": "2013-07-06T00:00:00.000Z",
        "roi": None,
        "last_updated": "2026-02-03T10:14:12.000Z",
    }


def chart(days: int) -> dict[str, list[list[float]]]:
    """Return a coin's daily points, each at 00:00 UTC, and the unfinished one of today."""
    moments = [MIDNIGHT - DAY * day for day in reversed(range(days))] + [MIDNIGHT + 36_852_000]
    return {
        "prices": [[moment, 70000.25 + number] for number, moment in enumerate(moments)],
        "market_caps": [[moment, 1.37e12 + number] for number, moment in enumerate(moments)],
        "total_volumes": [[moment, 2e10 + number] for number, moment in enumerate(moments)],
    }
