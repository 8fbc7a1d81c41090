"""The API: each mart to the cent, page by page, for those who may have it; and nobody can do more than read."""

from __future__ import annotations

import base64
import concurrent.futures
import contextlib
import csv
import datetime
import hashlib
import io
import json
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import hypothesis
import psutil
import psycopg2
import psycopg2.errors
import pyarrow.parquet
import pytest
import schemathesis
from flask import Flask
from psycopg2 import sql
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from api import app as api_app
from api import serve
from api.database import Pools
from api.endpoints import Endpoint, as_built, read_endpoints
from api_client import Caller, exact, make_token, plain, problem
from conftest import DBT, MODELS_ONLY, Database, free_port, wait_until

pytestmark = pytest.mark.feeds("courses", "market", "shop", "tickets")

DECLARED, BROKEN = read_endpoints()
NAMES = list(DECLARED)
MISTAKES = {  # of requests with a token for everything
    "an unknown parameter": ("daily_sales?limt=1", 400, "limt"),
    "a filter of another path": ("daily_sales?customer_id=c_001", 400, "customer_id"),
    "a limit of 0": ("daily_sales?limit=0", 400, "limit"),
    "a limit that is too large": ("daily_sales?limit=1001", 400, "limit"),
    "a limit in other digits": ("daily_sales?limit=٣", 400, "limit"),
    "a day that doesn't exist": ("daily_sales?from=2026-02-30", 400, "from"),
    "a date in another form": ("daily_sales?to=20260203", 400, "to"),
    "two dates": ("daily_sales?to=2026-02-03&to=2026-02-04", 400, "to"),
    "a column that can't be sorted by": ("daily_sales?sort=_batch_id", 400, "sort"),
    "an empty cursor": ("daily_sales?cursor=", 400, "cursor"),
    "an empty text": ("top_customers?segment=", 400, "segment"),
    "a text with NUL": ("top_customers?segment=a%00b", 400, "segment"),
    "an unknown format": ("daily_sales?format=xml", 400, "format"),
    "a cursor that is none": ("daily_sales?cursor=abc", 400, "cursor"),
    "a cursor in other letters": ("daily_sales?cursor=é", 400, "cursor"),
}


@pytest.fixture(scope="module")
def built(new_database: Callable[[Database], Database], sample: Database) -> Iterator[Database]:
    """The sample data, built, with roles. This process uses it, too."""
    database = new_database(sample)
    done = database.run("bin/warehouse", "roles")
    assert done.returncode == 0, done.stderr
    with pytest.MonkeyPatch.context() as patch:
        for name, value in database.environment.items():
            patch.setenv(name, value)
        yield database


@pytest.fixture(scope="module")
def app(built: Database) -> Iterator[Flask]:
    created = api_app.create_app()
    yield created
    created.extensions["pools"].dispose()


@pytest.fixture(scope="module")
def served(app: Flask) -> dict[str, Endpoint]:
    """Give the endpoints as their marts are built."""
    assert BROKEN == {}
    built = api_app.database.columns(app.extensions["pools"])
    return {name: as_built(endpoint, built[endpoint.mart]) for name, endpoint in DECLARED.items()}


@pytest.fixture(scope="module")
def caller(app: Flask, built: Database) -> Caller:
    """A client that may ask for everything, often."""
    return Caller(app.test_client(), make_token(built, "everything"))


@pytest.fixture
def new_caller(app: Flask, built: Database, request: pytest.FixtureRequest) -> Callable[..., Caller]:
    """Give a function that makes clients with tokens of their own, named after the test."""
    return lambda **options: Caller(app.test_client(), make_token(built, request.node.name[:50], **options))


def mart_rows(database: Database, endpoint: Endpoint, order: str = "", where: str = "") -> list[dict[str, Any]]:
    """Return what the mart holds, as JSON that PostgreSQL writes, in the order of the endpoint or another one."""
    columns = sql.SQL(", ").join(map(sql.Identifier, endpoint.columns))
    sort = order or endpoint.default_sort
    way = "desc" if sort.startswith("-") else "asc"
    by = sql.SQL(", ").join(sql.Identifier(name) for name in endpoint.key)
    query = sql.SQL("select {} from marts.{} where {} order by {} {} nulls last, {}").format(
        columns, sql.Identifier(endpoint.mart), sql.SQL(where or "true"),
        sql.Identifier(sort.lstrip("-")), sql.SQL(way), by,
    )  # fmt: skip
    return [dict(zip(endpoint.columns, map(plain, row), strict=True)) for row in database.query(query)]


# -- Rows --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_endpoint_gives_just_what_its_mart_holds(
    caller: Caller, built: Database, served: dict[str, Endpoint], name: str
) -> None:
    endpoint = served[name]
    expected = mart_rows(built, endpoint)
    assert len(expected) >= 30
    got = caller.rows(f"{name}?limit=1000")
    assert got == expected
    # Decimal("1") == Decimal("1.00"): the digits count as well.
    assert [list(map(str, row.values())) for row in got] == [list(map(str, row.values())) for row in expected]

    expected = expected[:1000]  # a page; the others are JSON's
    table = caller.get(f"{name}?limit=1000&format=csv")
    header, *lines = list(csv.reader(io.StringIO(table.text)))
    assert header == list(endpoint.columns)
    assert [dict(zip(header, line, strict=True)) for line in lines] == [
        {column: in_csv(value) for column, value in row.items()} for row in expected
    ]

    table = caller.get(f"{name}?limit=1000&format=parquet")
    parquet = pyarrow.parquet.read_table(io.BytesIO(table.data))
    assert [{column: plain(value) for column, value in row.items()} for row in parquet.to_pylist()] == expected


def in_csv(value: Any) -> str:
    """A value as CSV has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and value.endswith("+00:00"):
        return value.replace("T", " ").removesuffix(":00")
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def test_amounts_are_exact_to_the_last_digit(caller: Caller, built: Database) -> None:
    built.query("create table kept as select * from marts.fct_daily_sales")
    wide = Decimal("9007199254740993000000000000000000.0007")  # a float would lose what follows the sixteenth digit
    try:
        built.query("update marts.fct_daily_sales set gross_sales_usd = %s, discount_usd = 0.10", [wide])
        answer = caller.get("daily_sales?limit=1")
        (row,) = exact(answer.text)["data"]
        assert row["gross_sales_usd"] == wide
        assert '"gross_sales_usd":9007199254740993000000000000000000.0007,"discount_usd":0.1000,' in answer.text
        assert f",{wide},0.1000," in caller.get("daily_sales?limit=1&format=csv").text
        parquet = pyarrow.parquet.read_table(io.BytesIO(caller.get("daily_sales?limit=1&format=parquet").data))
        assert parquet["gross_sales_usd"].to_pylist() == [wide]
    finally:
        built.query("truncate marts.fct_daily_sales")
        built.query("insert into marts.fct_daily_sales select * from kept")
        built.query("drop table kept")


def test_csv_tells_null_from_empty_and_quotes_what_must_be(caller: Caller, built: Database) -> None:
    kept = "select course_title, category_name from marts.course_engagement where course_id = 'k_03'"
    (keep,) = built.query(kept)
    try:
        update = "update marts.course_engagement set course_title = %s, category_name = %s where course_id = 'k_03'"
        built.query(update, ['a, "b"\nc', ""])
        text = caller.get("course_engagement?course_id=k_03&format=csv").text
        assert text.partition("\n")[2].startswith('k_03,"a, ""b""\nc","",')
        built.query(update, ["=1+1", "-2"])
        harmless = caller.get("course_engagement?course_id=k_03&format=excel")
        assert harmless.text.partition("\n")[2].startswith("k_03,'=1+1,'-2,")
        assert harmless.headers["Content-Disposition"].endswith('.csv"')
        built.query(update, [None, None])
        text = caller.get("course_engagement?course_id=k_03&format=csv").text
        assert text.partition("\n")[2].startswith("k_03,,,")
    finally:
        built.query(update, list(keep))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_a_page_without_rows_is_a_page(caller: Caller, name: str, kind: str) -> None:
    has_days = any(each.parameter == "from" for each in DECLARED[name].filters)
    chosen = "from=9999-12-31" if has_days else f"{DECLARED[name].filters[0].parameter}=no such thing"
    answer = caller.get(f"{name}?{chosen}&format={kind}")
    assert answer.status_code == 200
    rows = {
        "csv": lambda: answer.text.splitlines()[1:],
        "json": lambda: answer.json["data"],
        "parquet": lambda: pyarrow.parquet.read_table(io.BytesIO(answer.data)).to_pylist(),
    }
    assert rows[kind]() == []


FILTERS = {
    "daily_sales?from=2026-01-05&to=2026-01-11": "sales_date between '2026-01-05' and '2026-01-11'",
    "top_customers?segment=loyal&segment=champion": "rfm_segment in ('loyal', 'champion')",
    "top_customers?country=DE": "country_code = 'DE'",
    "top_customers?customer_id=c_001": "customer_id = 'c_001'",
    "product_metrics?category=paint": "category = 'paint'",
    "product_metrics?product_id=p_01&product_id=p_02&category=lighting": "product_id = 'p_02'",
    "weekly_sales?from=2026-01-05&to=2026-01-12": "sales_week in ('2026-01-05', '2026-01-12')",
    "sales?company=kulisse&currency=DKK": "company = 'kulisse' and currency = 'DKK'",
    "sales?from=2026-02-01&to=2026-02-03&currency=USD&currency=EUR": (
        "booked_on between '2026-02-01' and '2026-02-03' and currency in ('EUR', 'USD')"
    ),
    "weekly_sales?event_id=unknown": "event_id = 'unknown'",
    "asset_prices?asset_id=sample-oatgate&to=2026-01-31": "asset_id = 'sample-oatgate' and price_date <= '2026-01-31'",
    "asset_prices?from=2026-02-01": "price_date >= '2026-02-01'",
    "asset_leaderboard?price_trend=moderate_gain": "price_trend = 'moderate_gain'",
    "asset_leaderboard?liquidity=low_liquidity": "liquidity = 'low_liquidity'",
    "asset_leaderboard?asset_id=sample-oatgate": "asset_id = 'sample-oatgate'",
    "course_engagement?category=Data": "category_name = 'Data'",
    "course_engagement?course_id=k_03": "course_id = 'k_03'",
}


@pytest.mark.parametrize("path", FILTERS)
def test_a_filter_selects_the_rows_that_it_names(
    caller: Caller, built: Database, served: dict[str, Endpoint], path: str
) -> None:
    endpoint = served[path.partition("?")[0]]
    expected = mart_rows(built, endpoint, where=FILTERS[path])
    assert 0 < len(expected) < len(mart_rows(built, endpoint))
    assert caller.rows(f"{path}&limit=1000") == expected


def test_every_filter_is_tried() -> None:
    tried = {
        (path.partition("?")[0], each.partition("=")[0])
        for path in FILTERS
        for each in path.partition("?")[2].split("&")
    }
    assert tried == {(name, each.parameter) for name, endpoint in DECLARED.items() for each in endpoint.filters}


# -- Pages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_pages_visit_each_row_once_in_every_order(
    caller: Caller, built: Database, served: dict[str, Endpoint], name: str
) -> None:
    endpoint = served[name]
    size = max(7, len(mart_rows(built, endpoint)) // 9)
    for sort in endpoint.sorts:
        assert caller.rows(f"{name}?limit={size}&sort={sort}") == mart_rows(built, endpoint, sort), sort


@pytest.mark.parametrize("sort", ["course_title", "-course_title"])
def test_pages_of_one_row_pass_ties_and_nulls(
    caller: Caller, built: Database, served: dict[str, Endpoint], sort: str
) -> None:
    (tied,) = built.query("select count(*) - count(distinct course_title) from marts.course_engagement")[0]
    (empty,) = built.query("select count(*) from marts.course_engagement where course_title is null")[0]
    assert tied or empty
    built.query("update marts.course_engagement set course_title = course_title || '!'")
    keep = built.query("select course_id, course_title from marts.course_engagement")
    try:
        built.query("update marts.course_engagement set course_title = case right(course_id, 1) when '1' then null"
                    " when '2' then '' else right(course_id, 1) end")  # fmt: skip
        rows = caller.rows(f"course_engagement?limit=1&sort={sort}")
        assert rows == mart_rows(built, served["course_engagement"], sort)
        assert sum(row["course_title"] is None for row in rows) > 2
    finally:
        for course, title in keep:
            values = [title and title.removesuffix("!"), course]
            built.query("update marts.course_engagement set course_title = %s where course_id = %s", values)


def test_the_address_of_the_next_page_is_in_the_header_too(caller: Caller) -> None:
    first = caller.get("daily_sales?limit=5&from=2026-01-01&to=2026-01-31")
    following = first.json["next"]
    assert first.headers["Link"] == f'<{following}>; rel="next"'
    assert "from=2026-01-01" in following
    second = caller.get(f"{following}&format=csv")
    assert second.status_code == 200
    assert "Link" in second.headers
    last = caller.get("daily_sales?limit=70")
    assert last.json["next"] is None
    assert "Link" not in last.headers


def cursor(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "values",
    [
        ("weekly_sales", "-sales_date", "2026-02-07", "2026-02-07"),
        ("daily_sales", "net_sales_usd", "1.00", "2026-02-07"),
        ("daily_sales", "-sales_date", "2026-02-07"),
        ("daily_sales", "-sales_date", "2026-02-07", "2026-02-07", "2026-02-07"),
        ("daily_sales", "-sales_date", "2026-02-30", "2026-02-07"),
        ("daily_sales", "-sales_date", 7, "2026-02-07"),
        ("daily_sales", "-sales_date", None, None),
        ("daily_sales", "-sales_date", "2026-02-07", "'; drop table marts.fct_daily_sales; --"),
        ("daily_sales", "-sales_date", "2026-02-07", "a\0b"),
        ("daily_sales", "-sales_date", "2026-02-07", "\ud800"),
        ("daily_sales", ["-sales_date"], "2026-02-07", "2026-02-07"),
        ({}, [], [], []),
        (),
    ],
)
def test_a_broken_cursor_is_refused(caller: Caller, values: tuple) -> None:
    document = problem(caller.get(f"daily_sales?cursor={cursor(*values)}"), 400)
    assert list(document["parameters"]) == ["cursor"]


# -- Errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_problem_that_names_the_parameter(caller: Caller, mistake: str) -> None:
    path, status, parameter = MISTAKES[mistake]
    document = problem(caller.get(path), status)
    assert list(document["parameters"]) == [parameter]
    assert parameter in document["detail"]


def test_all_mistakes_are_named_at_once(caller: Caller) -> None:
    document = problem(caller.get("daily_sales?limit=x&from=y&sort=z"), 400)
    assert set(document["parameters"]) == {"limit", "from", "sort"}


def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(caller: Caller) -> None:
    assert problem(caller.get("daily_sales?limt=1"), 400)["parameters"] == {"limt": "unknown; did you mean limit?"}


def test_paths_methods_and_formats_that_there_are_not(caller: Caller) -> None:
    problem(caller.get("no_such_mart"), 404)
    refused = caller.client.post("/api/v1/daily_sales")
    assert "GET" in problem(refused, 405)["detail"]
    assert "GET" in refused.headers["Allow"]
    assert "text/csv" in problem(caller.get("daily_sales", Accept="text/html"), 406)["detail"]
    assert problem(caller.get("health?x=1"), 400)["parameters"] == {"x": "unknown"}


def test_the_format_is_that_of_the_parameter_or_else_of_the_header(caller: Caller) -> None:
    for accept, kind in {
        "*/*": "application/json",
        "": "application/json",
        "text/*": "text/csv",
        "text/html, text/csv;q=0.9, */*;q=0.1": "text/csv",
        "application/vnd.apache.parquet": "application/vnd.apache.parquet",
    }.items():
        assert caller.get("daily_sales?limit=1", Accept=accept).mimetype == kind
    assert caller.get("daily_sales?limit=1&format=json", Accept="text/csv").mimetype == "application/json"


INJECTIONS = [
    "' or 1=1 --",
    "'; drop table marts.fct_daily_sales; --",
    '" or ""="',
    "%(x)s",
    ":given",
    "\\'",
    "{}",
    "$1",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_looks_like_sql_is_a_text_that_finds_nothing(
    caller: Caller, built: Database, served: dict[str, Endpoint], text: str
) -> None:
    before = mart_rows(built, served["daily_sales"])
    for path, name in (("top_customers", "customer_id"), ("top_customers", "segment"), ("asset_prices", "asset_id")):
        answer = caller.client.get(
            f"/api/v1/{path}", query_string={name: text}, headers={"Authorization": f"Bearer {caller.token}"}
        )
        assert (answer.status_code, answer.json["data"]) == (200, [])
    for name in ("sort", "limit", "from", "cursor", "format", text):
        answer = caller.client.get(
            "/api/v1/daily_sales", query_string={name: text}, headers={"Authorization": f"Bearer {caller.token}"}
        )
        assert list(problem(answer, 400)["parameters"]) == [name]
    assert mart_rows(built, served["daily_sales"]) == before


def test_a_mistake_of_the_api_is_a_problem_without_details(
    caller: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the secret reason")

    monkeypatch.setattr(api_app.pages, "read_page", fail)
    assert "secret" not in json.dumps(problem(caller.get("daily_sales"), 500))
    assert "the secret reason" in caplog.text


# -- Who asks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Basic abc", "Bearer granary_wrong", "Bearer é\xff", "abc"]
)
def test_without_a_valid_token_there_is_nothing(app: Flask, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = app.test_client().get("/api/v1/daily_sales", headers=headers)
    problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_token_reads_the_feeds_that_it_was_made_for(new_caller: Callable[..., Caller]) -> None:
    caller = new_caller(feeds="shop,tickets")
    for name, endpoint in DECLARED.items():
        answer = caller.get(f"{name}?limit=1")
        if endpoint.feed in ("shop", "tickets"):
            assert answer.status_code == 200
        else:
            assert endpoint.feed in problem(answer, 403)["detail"]


def test_a_revoked_token_is_refused_at_once(new_caller: Callable[..., Caller], built: Database) -> None:
    caller = new_caller()
    assert caller.get("daily_sales").status_code == 200
    name = "test_a_revoked_token_is_refused_at_once"
    done = built.run("bin/api-token", "revoke", name)
    assert (done.returncode, done.stdout) == (0, f"revoked   {name}\n")
    problem(caller.get("daily_sales"), 401)
    again = built.run("bin/api-token", "revoke", name)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)


def test_a_rate_is_kept_and_told(new_caller: Callable[..., Caller], built: Database) -> None:
    caller = new_caller(rate="3/day")
    for left in (2, 1, 0):
        answer = caller.get("daily_sales?limit=1")
        assert answer.status_code == 200
        told = [int(answer.headers[f"RateLimit-{name}"]) for name in ("Limit", "Remaining", "Reset")]
        assert told[:2] == [3, left]
        assert 0 < told[2] <= 86400
    answer = caller.get("daily_sales?limit=1")
    problem(answer, 429)
    assert answer.headers["RateLimit-Remaining"] == "0"
    assert answer.headers["Retry-After"] == answer.headers["RateLimit-Reset"]
    built.query("update api.requests set window_start = window_start - interval '1 day'")  # the next day
    assert caller.get("daily_sales?limit=1").headers["RateLimit-Remaining"] == "2"


def test_a_request_counts_even_if_the_build_can_not_be_read(new_caller: Callable[..., Caller], built: Database) -> None:
    caller = new_caller(rate="100/day")
    with contextlib.closing(built.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("lock table raw._builds in access exclusive mode")
        problem(caller.get("daily_sales"), 503)
    assert caller.get("daily_sales").headers["RateLimit-Remaining"] == "98"


def test_only_the_hash_of_a_token_is_kept(new_caller: Callable[..., Caller], built: Database) -> None:
    token = new_caller().token
    assert re.fullmatch(r"granary_[A-Za-z0-9_-]{43}", token)
    (found,) = built.query(
        "select count(*) from api.tokens where token_hash = %s", [hashlib.sha256(token.encode()).digest()]
    )
    assert found == (1,)
    everything = json.dumps(built.query("select tokens::text from api.tokens"))
    listed = built.run("bin/api-token", "list").stdout
    assert token not in everything + listed
    assert token.removeprefix("granary_") not in everything + listed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--name", "a b"], "invalid --name 'a b'"),
        (["--name", "a", "--rate", "0/minute"], "invalid --rate 0/minute: write it like 60/minute"),
        (["--name", "a", "--rate", "60"], "invalid --rate 60: "),
        (
            ["--name", "a", "--feeds", "shop,zoo"],
            "unknown feed 'zoo': choose from companies, courses, kulisse, market, shop, tickets",
        ),
        (["--name", "a", "--feeds", ""], "unknown feed '': choose from"),
        (["--name", "everything"], "the name everything is taken"),
    ],
)
def test_a_token_that_can_not_be_made_is_refused(
    caller: Caller, built: Database, arguments: list[str], said: str
) -> None:
    done = built.run("bin/api-token", "create", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


# -- Builds and caches -------------------------------------------------------------------------------------------------


def test_every_answer_names_the_latest_build_that_passed(caller: Caller, built: Database) -> None:
    (build,) = built.query("select build_id from marts.build_log order by finished_at desc limit 1")[0]
    answer = caller.get("daily_sales")
    assert answer.headers["Granary-Build"] == answer.json["meta"]["build_id"] == build
    for path in ("daily_sales?format=csv", "daily_sales?limt=1", "health", "no_such_path", "/openapi/openapi.json"):
        assert caller.get(path).headers["Granary-Build"] == build
    assert caller.client.get("/api/v1/daily_sales").headers["Granary-Build"] == build
    assert caller.client.post("/api/v1/daily_sales").headers["Granary-Build"] == build
    assert caller.get("daily_sales", If_None_Match=answer.headers["ETag"]).headers["Granary-Build"] == build


def test_health_needs_no_token_and_tells_how_fresh_the_feeds_are(app: Flask, built: Database) -> None:
    answer = app.test_client().get("/api/v1/health")
    assert answer.status_code == 200
    latest = built.query("select build_id, finished_at, status from marts.build_log order by finished_at desc limit 1")[
        0
    ]
    build, finished, status = latest
    expected = {"id": build, "finished_at": finished.astimezone(datetime.timezone.utc).isoformat(), "status": status}
    assert answer.json["build"] == expected
    loaded = built.query(
        "select feed, max(finished_at) from raw._batches where status = 'loaded' group by 1 order by 1"
    )
    told = [(each["feed"], datetime.datetime.fromisoformat(each["last_loaded_at"])) for each in answer.json["feeds"]]
    assert told == loaded
    assert len(told) == 5


def test_what_has_not_changed_is_said_without_a_look_at_the_mart(caller: Caller, built: Database) -> None:
    tag = caller.get("daily_sales?limit=3").headers["ETag"]
    built.query("revoke select on marts.fct_daily_sales from granary_reader")
    try:
        assert caller.get("daily_sales?limit=3").status_code == 500  # it can't look
        for given in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            answer = caller.get("daily_sales?limit=3", If_None_Match=given)
            assert (answer.status_code, answer.data) == (304, b"")
            assert answer.headers["ETag"] == tag
    finally:
        built.query("grant select on marts.fct_daily_sales to granary_reader")


def test_a_tag_stands_for_one_query_in_one_format_of_one_state_of_the_mart(caller: Caller, built: Database) -> None:
    paths = [
        "daily_sales", "daily_sales?limit=3", "daily_sales?format=csv", "daily_sales?sort=sales_date",
        "daily_sales?from=2026-01-01", "daily_sales?to=2026-01-01", "weekly_sales",
        "top_customers?segment=loyal", "top_customers?country=loyal", "top_customers?segment=loyal&segment=champion",
    ]  # fmt: skip
    tags = [caller.get(path).headers["ETag"] for path in paths]
    assert len(set(tags)) == len(paths)
    assert caller.get("daily_sales?sort=-sales_date&limit=100").headers["ETag"] == tags[0]
    assert caller.get("top_customers?segment=champion&segment=loyal").headers["ETag"] == tags[-1]
    before = caller.get("daily_sales").headers["Granary-Build"]
    try:
        built.query(TRIAL_WRITER, ["killed"])
        answer = caller.get("daily_sales", If_None_Match=tags[0])  # a build that was killed has changed some marts
        assert (answer.status_code, answer.headers["Granary-Build"]) == (200, before)
        assert caller.get("weekly_sales", If_None_Match=tags[6]).status_code == 304  # and no others
        tags[0] = answer.headers["ETag"]
        for status in ("failed", "passed"):
            built.query(TRIAL_BUILD, [f"trial {status}", status])
            answer = caller.get("daily_sales", If_None_Match=tags[0])
            assert answer.status_code == (304 if status == "failed" else 200)
            assert answer.headers["Granary-Build"] == (before if status == "failed" else "trial passed")
    finally:
        built.query("delete from raw._builds where build_id like 'trial %%'", [])
        built.query(TRIAL_WRITER, [before])


TRIAL_BUILD = """
    insert into raw._builds select %s, schema_prefix, command, selection, is_full_refresh, %s, models_built,
        tests_passed, tests_warned, tests_failed, errors, started_at from raw._builds limit 1
"""
TRIAL_WRITER = "update intermediate._watermarks set build_id = %s where model = 'fct_daily_sales'"


@pytest.mark.parametrize("ends", ["the run that writes the mart", "the build"])
def test_rows_build_and_tag_are_of_one_state(
    caller: Caller, built: Database, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    """Something ends after a request was admitted, and before its page is read."""
    path = "daily_sales?limit=1&sort=sales_date"
    before, admit = caller.get(path), api_app.database.admit
    (day,) = before.json["data"]
    statements = {
        "the run that writes the mart": (TRIAL_WRITER, ["trial writer"]),
        "the build": (TRIAL_BUILD, ["trial build", "passed"]),
    }

    def late(*arguments: Any) -> Any:
        admitted = admit(*arguments)
        built.query("update marts.fct_daily_sales set units = units + 1 where sales_date = %s", [day["sales_date"]])
        built.query(*statements[ends])
        return admitted

    try:
        with monkeypatch.context() as patch:
            patch.setattr(api_app.database, "admit", late)
            answer = caller.get(path)
        after = caller.get(path)
        assert answer.status_code == 200
        assert (answer.json, answer.headers["ETag"]) == (after.json, after.headers["ETag"])
        assert answer.headers["Granary-Build"] == after.headers["Granary-Build"] == after.json["meta"]["build_id"]
        assert answer.json["data"] == [day | {"units": day["units"] + 1}]
        assert answer.headers["ETag"] != before.headers["ETag"]
    finally:
        update = "update marts.fct_daily_sales set units = %s where sales_date = %s"
        built.query(update, [day["units"], day["sales_date"]])
        built.query("delete from raw._builds where build_id like 'trial %%'", [])
        built.query(TRIAL_WRITER, [before.json["meta"]["build_id"]])


def test_an_answer_does_not_wait_for_builds_without_an_end(
    caller: Caller, built: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, read_page, asked = caller.get("daily_sales"), api_app.pages.read_page, []

    def late(*arguments: Any) -> Any:
        asked.append(built.query(TRIAL_WRITER, [f"trial {len(asked)}"]))
        return read_page(*arguments)

    monkeypatch.setattr(api_app.pages, "read_page", late)
    try:
        answer = caller.get("daily_sales")
        assert "Builds are writing this table" in problem(answer, 503)["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert len(asked) == api_app.TRIES
    finally:
        built.query(TRIAL_WRITER, [before.json["meta"]["build_id"]])


# -- Prepared statements -----------------------------------------------------------------------------------------------


@pytest.fixture
def single(caller: Caller) -> Iterator[tuple[Caller, Pools]]:
    """A client of an API that has one connection of each kind, and these connections."""
    app = api_app.create_app(pool_size=1)
    yield Caller(app.test_client(), caller.token), app.extensions["pools"]
    app.extensions["pools"].dispose()


@pytest.mark.parametrize("statement", ["discard all", "deallocate all"])
def test_what_the_server_has_forgotten_is_prepared_again(single: tuple[Caller, Pools], statement: str) -> None:
    caller, pools = single
    expected = caller.get("daily_sales?limit=3").json
    for engine in (pools.counting, pools.reading):
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
    assert caller.get("daily_sales?limit=3").json == expected
    assert caller.get("weekly_sales?limit=3").status_code == 200


def test_what_another_client_has_prepared_is_not_mistaken(single: tuple[Caller, Pools]) -> None:
    """A proxy gives the connection of one client to another: it has other statements than the client believes."""
    caller, pools = single
    paths = ["daily_sales?limit=3", "weekly_sales?limit=3"]
    expected = [caller.get(path).json for path in paths]
    for engine in (pools.counting, pools.reading):
        with engine.connect() as connection:
            connection.info["prepared"] = {"a statement of another client"}
    assert [caller.get(path).json for path in paths] == expected


def test_the_statements_of_a_connection_are_few(single: tuple[Caller, Pools]) -> None:
    caller, pools = single
    most = api_app.database.MOST_PREPARED
    broken = cursor("daily_sales", "-sales_date", "2026-02-30", "2026-02-07")
    for limit in (*range(1, most + 5), 1):
        assert len(caller.get(f"daily_sales?limit={limit}").json["data"]) == min(limit, 70)
    for limit in range(1, most + 5):  # these can't be executed, but the server has prepared them
        problem(caller.get(f"daily_sales?limit={limit}&cursor={broken}"), 400)
        problem(caller.get(f"daily_sales?limit={limit}&cursor={broken}"), 400)
    with pools.reading.connect() as connection:
        (count,) = connection.exec_driver_sql("select count(*) from pg_prepared_statements").one()
    assert 0 < count <= most


# -- Roles -------------------------------------------------------------------------------------------------------------

CAN_READ = {
    "granary_reader": {"marts"},
    "granary_api": {"marts"},
    "granary_builder": {"raw", "staging", "intermediate", "marts"},
    "granary_loader": {"raw", "granary_lock"},
}
CAN_WRITE = {"granary_builder": {"staging", "intermediate", "marts"}, "granary_loader": {"raw", "granary_lock"}}


@pytest.mark.parametrize("role", CAN_READ)
def test_a_role_reads_and_writes_its_schemas_and_no_others(built: Database, role: str) -> None:
    tables = """
        select nspname, oid_of.oid::regclass::text,
            has_schema_privilege(%(role)s, nspname, 'usage') and has_table_privilege(%(role)s, oid_of.oid, 'select'),
            has_schema_privilege(%(role)s, nspname, 'usage')
                and has_table_privilege(%(role)s, oid_of.oid, 'insert, update, delete, truncate, references, trigger')
        from pg_class as oid_of
        inner join pg_namespace on pg_namespace.oid = relnamespace
        where relkind in ('r', 'p', 'v', 'm') and nspname in ('raw', 'staging', 'intermediate', 'marts', 'api')
    """
    rows = built.query(tables, {"role": role})
    assert len(rows) > 70
    for schema, table, reads, writes in rows:
        builds = role == "granary_builder" and table in ("raw._begun_builds", "raw._builds", "raw._replayed_values")
        assert reads == (schema in CAN_READ[role]), table
        assert writes == (builds or schema in CAN_WRITE.get(role, set())), table
    schemas = "select nspname from pg_namespace where has_schema_privilege(%s, oid, 'create') and nspname !~ '^pg_'"
    assert {name for (name,) in built.query(schemas, [role])} == CAN_WRITE.get(role, set())


@pytest.mark.parametrize("role", ["granary_reader", "granary_api"])
@pytest.mark.parametrize(
    "statement",
    [
        "select * from raw._batches",
        "select * from staging.stg_ledger__batches",
        "select * from intermediate.int_shop__customers",
        "select * from api.tokens",
        "select * from api.requests",
        "delete from marts.fct_daily_sales",
        "update marts.fct_daily_sales set units = 0",
        "truncate marts.fct_daily_sales",
        "create table marts.more (x int)",
        "create table public.more (x int)",
        "create schema more",
        "alter table marts.fct_daily_sales owner to granary_reader",
        "set role granary_builder",
        "create role more",
        "copy marts.fct_daily_sales to program 'true'",
        "create temporary table more (x int)",
        "select lo_create(0)",
        "select lo_creat(-1)",
        "select lo_from_bytea(0, 'x')",
        "select lo_import('/etc/hostname')",
    ],
)
def test_who_reads_can_do_nothing_else(built: Database, role: str, statement: str) -> None:
    with contextlib.closing(login(built, role)) as connection, connection.cursor() as cursor:
        cursor.execute("set transaction read write")  # the rights decide, not a setting that anybody can change
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(statement)


def login(database: Database, role: str) -> Any:
    return psycopg2.connect(host=database.environment["PGHOST"], port=5432, user=role, dbname=database.name)


def test_only_the_api_may_ask_whose_a_token_is(built: Database) -> None:
    with (
        contextlib.closing(login(built, "granary_reader")) as connection,
        connection.cursor() as cursor,
        pytest.raises(psycopg2.errors.InsufficientPrivilege),
    ):
        cursor.execute("select * from api.admit('x')")
    (settings,) = built.query("select proconfig from pg_proc where proname = 'admit'")[0]
    assert settings == ["search_path=pg_catalog, pg_temp"]


@pytest.mark.parametrize("role", ["granary_reader", "granary_api"])
def test_slow_queries_of_readers_end(built: Database, role: str) -> None:
    with contextlib.closing(login(built, role)) as connection, connection.cursor() as cursor:
        cursor.execute("show statement_timeout")
        assert cursor.fetchone()[0] in ("10s", "1min")


def test_the_api_reads_in_transactions_that_can_not_write(app: Flask) -> None:
    with app.extensions["pools"].reading.connect() as connection:
        settings = "select current_user, current_setting('transaction_read_only'), current_setting('statement_timeout')"
        assert tuple(connection.exec_driver_sql(settings).one()) == ("granary_api", "on", "10s")


def test_rights_survive_a_full_refresh(caller: Caller, built: Database) -> None:
    models = ["fct_daily_sales", "course_engagement", "build_log"]  # an incremental table, a table and a view
    before = built.query("select array_agg(oid::int order by oid) from pg_class where relname = any (%s)", [models])
    done = built.run(*DBT, "build", "--full-refresh", *MODELS_ONLY, "--select", *models)
    assert done.returncode == 0, done.stdout
    after = built.query("select array_agg(oid::int order by oid) from pg_class where relname = any (%s)", [models])
    assert not set(before[0][0]) & set(after[0][0]), "all three are new"
    for path in ("daily_sales", "course_engagement"):
        assert caller.get(path).status_code == 200
    with contextlib.closing(login(built, "granary_reader")) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from marts.fct_daily_sales")
        assert cursor.fetchone() == (70,)
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("select * from raw._builds")


def test_members_of_the_roles_load_and_build(built: Database) -> None:
    assert built.run("bin/warehouse", "roles").returncode == 0
    for user, role in (("trial_loader", "granary_loader"), ("trial_builder", "granary_builder")):
        built.query(f"create role {user} login in role {role}")
        built.query(f"alter role {user} set role {role}")
    done = built.run("bin/ingest", "--strict", env={"PGUSER": "trial_loader"})
    assert done.returncode == 0, done.stderr
    done = built.run(
        *DBT, "run", "--full-refresh", "--select", "fct_daily_sales",
        env={"PGUSER": "trial_builder"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    owner = "select tableowner from pg_tables where tablename = 'fct_daily_sales'"
    assert built.query(owner) == [("granary_builder",)]
    with contextlib.closing(login(built, "granary_reader")) as connection, connection.cursor() as cursor:
        cursor.execute("select count(*) from marts.fct_daily_sales")
        assert cursor.fetchone() == (70,)


def test_the_api_has_a_password_where_one_is_set(built: Database) -> None:
    kept = "select rolpassword from pg_authid where rolname = 'granary_api'"
    assert built.query(kept) == [(None,)]
    try:
        done = built.run("bin/warehouse", "roles", env={"GRANARY_API_PASSWORD": "it's secret"})
        assert done.returncode == 0, done.stderr
        assert built.query(kept)[0][0].startswith("SCRAM-SHA-256$")
    finally:
        built.query("alter role granary_api password null")


# -- The document ------------------------------------------------------------------------------------------------------


def test_the_document_says_what_each_column_is(app: Flask, built: Database) -> None:
    document = app.test_client().get("/openapi/openapi.json").json
    assert set(document["paths"]) == {f"/api/v1/{name}" for name in ["", "health", *NAMES]}
    for path, endpoint in DECLARED.items():
        properties = document["components"]["schemas"][path]["properties"]
        assert list(properties) == list(endpoint.columns)
        for name, described in properties.items():
            comment = "select col_description(attrelid, attnum) from pg_attribute"
            comment += " where attrelid = %s::regclass and attname = %s"
            mart = f"marts.{endpoint.mart}"
            (words,) = built.query(comment, [mart, name])[0]
            assert described["description"] == " ".join(words.split())
            assert ("x-unit" in described) == bool(re.search("_usd$|_pct$|_days$|^days_|^sma_", name)), name


def test_swagger_ui_needs_no_network(app: Flask) -> None:
    client = app.test_client()
    page = client.get("/openapi/swagger", follow_redirects=True).text
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(links) >= 4
    for link in links:
        assert "//" not in link
        with contextlib.closing(client.get(urllib.parse.urljoin("/openapi/swagger/", link))) as answer:
            assert answer.status_code == 200


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("name", ["", "health", *NAMES])
def test_whatever_the_schema_allows_is_answered_as_it_says(
    app: Flask, caller: Caller, name: str, mode: GenerationMode
) -> None:
    if name in ("", "health") and mode == GenerationMode.NEGATIVE:
        return  # it has no parameters that could be wrong
    schema = schemathesis.openapi.from_wsgi("/openapi/openapi.json", app)
    operation = schema[f"/api/v1/{name}"]["GET"]
    texts = [each.parameter for each in DECLARED[name].filters if each.operator == "="] if name in DECLARED else []

    @hypothesis.settings(
        max_examples=15,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        query = case.query or {}
        sent = app.test_request_context(query_string=query).request.args
        excluded = []
        if "cursor" in query:  # text of the schema's type is usually not one of our cursors
            excluded.append(positive_data_acceptance)
        # In an address all is text: a number for a text is none there, and an unknown parameter without values is gone.
        is_text = any(not isinstance(query.get(name, []), list) for name in texts) or sent.keys() <= set(texts)
        if is_text or query.keys() - sent.keys():
            excluded.append(negative_data_rejection)
        case.call_and_validate(headers={"Authorization": f"Bearer {caller.token}"}, excluded_checks=excluded)

    check()


# -- The server --------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(database: Database, *arguments: str) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run bin/api on a free port; give the address of /api/v1 and the process."""
    port = free_port()
    with database.start("bin/api", "--port", port, *arguments) as process:
        wait_until(lambda: fetch(f"http://127.0.0.1:{port}/api/v1/health")[0] == 200, process)
        yield f"http://127.0.0.1:{port}/api/v1", process
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert "Traceback" not in said, said


def fetch(address: str, token: str = "") -> tuple[int, str]:
    """Return the status and the body of an answer; 0 where nobody answers."""
    request = urllib.request.Request(address, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""


@pytest.mark.parametrize(
    ("clients", "sent"),
    [
        (300, b""),
        (64, b"GET /api/v1/health HTTP/1.1\r\nHost: x\r\nSlow: "),
        (64, b"POST /api/v1/health HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"),
    ],
    ids=["idle", "half a head", "half a body"],
)
def test_clients_that_send_slowly_keep_nobody_waiting(built: Database, clients: int, sent: bytes) -> None:
    with serving(built) as (address, _), contextlib.ExitStack() as stack:
        port = urllib.parse.urlsplit(address).port
        for _ in range(clients):
            stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(sent)
        started = time.monotonic()
        assert [fetch(f"{address}/health")[0] for _ in range(10)] == [200] * 10
        assert time.monotonic() - started < 5


def test_half_a_head_is_not_waited_for(built: Database) -> None:
    with serving(built) as (address, _):
        port = urllib.parse.urlsplit(address).port
        with socket.create_connection(("127.0.0.1", port), timeout=serve.HEADER_SECONDS + 10) as client:
            client.sendall(b"GET /api/v1/health HTTP/1.1\r\n")
            while client.recv(1000):  # until it is closed
                pass


def test_as_many_values_as_the_document_allows_fit_into_an_address(built: Database) -> None:
    token = make_token(built, "long addresses")
    values = [("customer_id", f"{number:0100d}") for number in range(100)]
    with serving(built) as (address, _):
        assert fetch(f"{address}/top_customers?{urllib.parse.urlencode(values)}", token)[0] == 200
        status, text = fetch(f"{address}/top_customers?customer_id={'x' * 50_000}", token)
    assert status == json.loads(text)["status"] == 414


def test_a_rate_holds_across_workers(built: Database) -> None:
    token = make_token(built, "across workers", rate="30/day")
    with serving(built, "--workers", "2") as (address, process):
        wait_until(lambda: len(psutil.Process(process.pid).children()) == 2, process)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: fetch(f"{address}/daily_sales?limit=1", token)[0], range(60)))
    assert sorted(answers) == [200] * 30 + [429] * 30


def test_a_restart_of_the_database_costs_no_more_than_its_time(caller: Caller, built: Database) -> None:
    assert caller.get("daily_sales").status_code == 200
    built.run("bin/warehouse", "stop", check=True)
    try:
        answer = caller.get("daily_sales")
        problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
        problem(caller.get("health"), 503)
    finally:
        built.run("bin/warehouse", "start", check=True)
    assert caller.get("daily_sales").status_code == 200
    built.run("bin/warehouse", "stop", check=True)
    built.run("bin/warehouse", "start", check=True)
    assert [caller.get("daily_sales").status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize(
    ("setting", "said"),
    [("STATEMENT_TIMEOUT", "took too long"), ("LOCK_TIMEOUT", "A build is replacing this table")],
)
def test_a_query_that_takes_too_long_is_a_problem(
    caller: Caller, built: Database, monkeypatch: pytest.MonkeyPatch, setting: str, said: str
) -> None:
    monkeypatch.setattr(api_app.database, setting, "300ms")
    impatient = api_app.create_app()
    with contextlib.closing(built.connect()) as build, build.cursor() as cursor:
        cursor.execute("lock table marts.fct_daily_sales in access exclusive mode")
        answer = Caller(impatient.test_client(), caller.token).get("daily_sales")
    impatient.extensions["pools"].dispose()
    assert said in problem(answer, 503)["detail"]


def test_a_build_gives_up_on_a_reader_and_names_it(caller: Caller, built: Database) -> None:
    build = ["bin/dbt", "run", "--select", "build_log", "--full-refresh"]
    with contextlib.closing(login(built, "granary_reader")) as reader, reader.cursor() as cursor:
        reader_pid = reader.get_backend_pid()
        cursor.execute("set idle_in_transaction_session_timeout = 0")  # a build may take a minute to begin
        cursor.execute("select count(*) from marts.build_log")
        with built.start(*build, env={"GRANARY_LOCK_WAIT": "6s"}) as process:
            times = []
            while process.poll() is None:
                started = time.monotonic()
                assert caller.get("daily_sales?limit=1").status_code == 200  # it reads build_log, too
                times.append(time.monotonic() - started)
            said = process.communicate()[0]
    assert process.returncode == 1
    assert f"process {reader_pid} of granary_reader" in said, said
    assert "idle in transaction for" in said
    assert max(times) < 1.5
    assert built.run(*build).returncode == 0


@pytest.mark.parametrize("mart", ["fct_daily_sales", "build_log"])
def test_who_waits_for_a_table_that_is_replaced_reads_the_new_one(caller: Caller, built: Database, mart: str) -> None:
    before = caller.get("daily_sales?limit=3").json
    with contextlib.closing(built.connect()) as build, build.cursor() as cursor:
        cursor.execute(f"create table marts.new as table marts.{mart}; grant select on marts.new to public")
        cursor.execute(f"alter table marts.{mart} rename to old; alter table marts.new rename to {mart}")
        (ends := threading.Timer(0.5, build.commit)).start()
        began = time.monotonic()
        assert caller.get("daily_sales?limit=3").json == before
        assert time.monotonic() - began > 0.4, "it has waited"
        ends.join()
        cursor.execute(f"drop table marts.{mart}; alter table marts.old rename to {mart}")
        build.commit()


def test_a_build_does_not_wait_for_a_reader_of_watermarks(built: Database) -> None:
    with contextlib.closing(login(built, "granary_reader")) as reader, reader.cursor() as cursor:
        cursor.execute("select count(*) from marts.table_log")
        done = built.run("bin/dbt", "run", "--select", "build_log", timeout=50)  # before PostgreSQL ends the reader
    assert done.returncode == 0, done.stdout


def test_a_reader_that_does_nothing_is_disconnected(built: Database) -> None:
    settings = "select array_to_string(setconfig, ' ') from pg_db_role_setting where setrole = %s::regrole"
    for role in ("granary_reader", "granary_api"):
        assert "idle_in_transaction_session_timeout=" in built.query(settings, [role])[0][0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "invalid port 0: choose 1 to 65535"),
        (["--workers", "0"], "invalid --workers 0: choose 1 or more"),
        (["--host", "192.0.2.1"], "can't serve at 192.0.2.1, port 8000"),
    ],
)
def test_a_server_that_can_not_start_says_why(built: Database, arguments: list[str], said: str) -> None:
    done = built.run("bin/api", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
