"""Whatever a parse type reads can be read again from every surface of a mart: Python, reports, API and dashboard."""

from __future__ import annotations

import contextlib
import csv
import datetime
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pandas as pd
import psycopg2.extensions
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg2 import sql
from streamlit.testing.v1 import AppTest

from api import app as api_app
from api_client import Caller, exact
from conftest import Database
from dashboard import charts, marts, page, sections
from granary import declared, project
from granary.reports import export
from test_parsing import FIRST, LARGEST, LAST, LOCAL, NEARLY, STYLES, TABLE, spelled, view_of_texts

pytestmark = pytest.mark.fast

COLUMNS = {
    "place": "bigint",
    "amount_usd": "numeric(18, 2)",
    "boolean": "boolean",
    "date": "date",
    "discount": "text",
    "email": "text",
    "epoch_ms": "timestamp",
    "epoch_s": "timestamp",
    "integer": "bigint",
    "label": "text",
    "number": "numeric(38, 18)",
    "text": "text",
    "timestamp": "timestamp",
}
PARSED = [name.removesuffix("_usd") for name in COLUMNS if name != "place"]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
TIMES = st.builds(spelled, LOCAL, st.integers(-14 * 60, 14 * 60), STYLES)
WHOLE = st.integers(-(2**65), 2**65) | st.integers(-(10**15), 10**15)
NUMBERS = WHOLE.map(str) | st.decimals(allow_nan=False, allow_infinity=False).map("{:.20f}".format)
DELIVERED = {
    "amount": NUMBERS,
    "date": TIMES,
    "epoch_ms": WHOLE.map(str),
    "epoch_s": WHOLE.map(str),
    "integer": WHOLE.map(str),
    "number": NUMBERS,
    "text": TEXT,
    "label": TEXT,
    "timestamp": TIMES,
}
ROW = st.tuples(*(st.sampled_from([*TABLE[name]]) | NEARLY | DELIVERED.get(name, TEXT) for name in PARSED))


class Mart:
    """A mart with a column per parse type, filled from delivered texts, and everything that reads it."""

    def __init__(self, connection: psycopg2.extensions.connection, caller: Caller) -> None:
        self.connection, self.caller = connection, caller

    def fill(self, rows: list[tuple[str, ...]]) -> list[tuple]:
        """Replace the rows by what is read from texts; return them as Python has them."""
        with self.connection, self.connection.cursor() as cursor:
            cursor.execute("truncate marts.extremes")
            for name, texts in zip(PARSED, zip(*rows, strict=True), strict=True):
                cursor.execute("truncate texts")
                cursor.execute("insert into texts select * from unnest(%s) with ordinality", [list(texts)])
                column = sql.Identifier(f"{name}_usd" if name == "amount" else name)
                insert = "insert into marts.extremes (place, {0}) select place, {1} from parsed on conflict (place)"
                query = sql.SQL(f"{insert} do update set {{0}} = excluded.{{0}}")
                cursor.execute(query.format(column, sql.Identifier(f"{name}_read")))
            cursor.execute("select * from marts.extremes order by place")
            return cursor.fetchall()

    def report(self, form: str) -> bytes:
        """Return a report of the mart."""
        with self.connection:
            file = io.BytesIO()
            export.WRITERS[form](self.connection, export.describe(self.connection, "extremes"), file)
            return file.getvalue()

    def frame(self) -> tuple[sections.Section, pd.DataFrame]:
        """Return the section of the dashboard's page, and its rows."""
        all_marts = declared.marts()
        section = sections.Section(all_marts["extremes"], all_marts)
        with marts.open_marts() as opened:
            return section, opened.select(*section.rows({}, 1000))


@pytest.fixture(scope="module")
def mart(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mart]:
    """A mart of its own, declared as any mart is."""
    database, root = new_database(), tmp_path_factory.mktemp("project")
    assert database.run("bin/warehouse", "roles").returncode == 0
    view = view_of_texts(database)
    types = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    database.query(f"create table marts.extremes ({types}, primary key (place))")
    token = "insert into api.tokens (name, token_hash, feeds, rate_requests, rate_seconds) values (%s, %s, %s, 9999, 1)"
    database.query(token, ["reader", hashlib.sha256(b"token").digest(), ["own"]])
    (root / "dbt" / "models" / "marts").mkdir(parents=True)
    shown = {"filters": ["date"], "sort": "place", "chart": {"kind": "lines", "x": "timestamp", "y": "amount_usd"}}
    model = {
        "name": "extremes",
        "config": {"group": "own", "meta": {"api": True, "dashboard": shown}},
        "constraints": [{"type": "primary_key", "columns": ["place"]}],
        "columns": [{"name": name, "data_type": kind} for name, kind in COLUMNS.items()],
    }
    (root / "dbt" / "models" / "marts" / "extremes.yml").write_text(json.dumps({"models": [model]}))
    with pytest.MonkeyPatch.context() as patch, contextlib.closing(database.connect()) as connection:
        for name, value in database.environment.items():
            patch.setenv(name, value)
        patch.setattr(project, "ROOT", root)
        with connection, connection.cursor() as cursor:
            cursor.execute(view)
        app = api_app.create_app()
        yield Mart(connection, Caller(app.test_client(), "token"))
        app.extensions["pools"].dispose()


def held(name: str, value: Any) -> Any:
    """Return a value as Python holds it, given as text or as JSON has it; times in UTC, without saying so."""
    kind = COLUMNS[name]
    if value is None or (value == "" and kind != "text"):
        return None
    if kind == "timestamp":
        whole = re.sub(r"(?<=:\d\d)\.(\d+)", lambda digits: f".{digits[1]:0<6}", str(value).replace("+00:00", ""))
        return datetime.datetime.fromisoformat(whole.removesuffix("+00"))
    if kind == "date":
        return datetime.date.fromisoformat(value)
    if kind.startswith("numeric"):
        return Decimal(value)
    return {"true": True, "false": False}.get(value, value) if kind == "boolean" else type_of(kind)(value)


def type_of(kind: str) -> type:
    return int if kind == "bigint" else str


def of_csv(content: bytes) -> list[tuple]:
    rows = csv.reader(io.StringIO(content.decode(), newline=""))
    names = next(rows)
    return [tuple(map(held, names, row)) for row in rows]


def of_json(rows: list[dict[str, Any]]) -> list[tuple]:
    return [tuple(held(name, value) for name, value in row.items()) for row in rows]


def of_parquet(content: bytes) -> list[tuple]:
    table = pyarrow.parquet.read_table(io.BytesIO(content))
    assert len(table.to_pandas()) == table.num_rows
    return [
        tuple(value.replace(tzinfo=None) if isinstance(value, datetime.datetime) else value for value in row.values())
        for row in table.to_pylist()
    ]


def without_null_texts(rows: list[tuple]) -> list[tuple]:
    """Return rows as a reader of CSV sees them that takes null and empty text for the same."""
    return [
        tuple(
            "" if value is None and COLUMNS[name] == "text" else value for name, value in zip(COLUMNS, row, strict=True)
        )
        for row in rows
    ]


def without_formulas(rows: list[tuple]) -> list[tuple]:
    """Return rows as a spreadsheet gets them: text that begins like a formula has an apostrophe in front."""
    return [
        tuple(f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r\n") else value for value in row)
        for row in without_null_texts(rows)
    ]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(ROW, min_size=1, max_size=20))
def test_what_is_read_can_be_read_again_everywhere(mart: Mart, delivered: list[tuple[str, ...]]) -> None:
    rows = mart.fill(delivered)
    assert of_csv(mart.report("csv")) == without_null_texts(rows)
    assert of_json(exact(mart.report("json").decode())) == rows
    assert of_parquet(mart.report("parquet")) == rows
    assert of_json(mart.caller.rows("extremes")) == rows
    assert of_csv(mart.caller.get("extremes?format=csv").data) == without_null_texts(rows)
    assert of_parquet(mart.caller.get("extremes?format=parquet").data) == rows
    for column in ("date", "epoch_ms", "timestamp", "number"):
        again = mart.caller.rows(f"extremes?limit=7&sort=-{column}")
        assert sorted(of_json(again), key=lambda row: row[0]) == rows
    section, frame = mart.frame()
    assert [tuple(row) for row in frame.itertuples(index=False)] == rows
    for sheet in (page.as_csv(frame), mart.report("excel"), mart.caller.get("extremes?format=excel").data):
        assert of_csv(sheet) == without_formulas(rows)
    charts.drawn(frame, section, "amount_usd")[0].to_dict()


@pytest.mark.parametrize("side", [0, 1])
def test_a_page_shows_the_limits_of_each_type(mart: Mart, side: int) -> None:
    limits = {
        "amount": ("-999999999999999.99", "999999999999999.99"), "boolean": ("0", "1"), "date": (FIRST, LAST),
        "epoch_ms": ("-9999999999999", "99999999999999"), "epoch_s": ("-9999999999", "99999999999"),
        "integer": (str(-LARGEST - 1), str(LARGEST)), "timestamp": (FIRST, LAST), "discount": ("0%", "999.99%"),
        "number": ("-1e-18", "99999999999999999999.999999999999999999"), "email": ("a@b.c", "\U0001f600@b.c"),
    }  # fmt: skip
    texts = ("a\u2028b\r\n\"',\\\x01", "\U0001f600 e\u0301 \u202eabc\u200d")
    rows = mart.fill([tuple(limits.get(name, texts)[side] for name in PARSED)])
    assert None not in rows[0]
    shown = AppTest.from_string("from dashboard import app\napp.show('own')", default_timeout=120).run()
    assert not shown.exception and not shown.error
    assert len(shown.dataframe[0].value) == 1
