"""A client of the API, and what tests read from its answers."""

from __future__ import annotations

import datetime
import json
import re
from decimal import Decimal
from typing import Any

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from conftest import Database


class Caller:
    """A client of the API with a token."""

    def __init__(self, client: FlaskClient, token: str) -> None:
        self.client, self.token = client, token

    def get(self, path: str, **headers: str) -> TestResponse:
        """Ask for a path below /api/v1, or for an address as `next` has it."""
        address = path if path.startswith("/") else f"/api/v1/{path}"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.get(address, headers={"Authorization": f"Bearer {self.token}"} | named)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """Return the rows of all pages, with exact numbers."""
        found: list[dict[str, Any]] = []
        while path:
            answer = self.get(path)
            assert answer.status_code == 200, answer.text
            page = exact(answer.text)
            assert page["meta"]["row_count"] == len(page["data"])
            found += page["data"]
            path = page["next"]
        return found


def make_token(database: Database, name: str, rate: str = "1000000/day", feeds: str | None = None) -> str:
    """Create a token and return it."""
    name = re.sub("[^a-z0-9_-]", "-", name.lower())
    arguments = ["--name", name, "--rate", rate, *(["--feeds", feeds] if feeds else [])]
    done = database.run("bin/api-token", "create", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def exact(text: str) -> Any:
    """Return what a JSON text holds, with exact numbers."""
    return json.loads(text, parse_float=Decimal)


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, datetime.datetime):
        text = value.replace(tzinfo=value.tzinfo or datetime.timezone.utc).isoformat()
        return re.sub(r"(\.\d*?)0+(?=[+-])", r"\1", text)
    return value.isoformat() if isinstance(value, datetime.date) else value


def problem(answer: TestResponse, status: int) -> dict[str, Any]:
    """Return the problem document of an answer that must have this status."""
    assert answer.status_code == status, answer.text
    assert answer.content_type == "application/problem+json"
    document = json.loads(answer.text)
    assert document["status"] == status
    assert document["type"] and document["title"] and document["detail"].endswith(".")
    return document
