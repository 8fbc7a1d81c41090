"""The API of a project of one's own: what a mart's YAML declares is served without a line of Python."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from flask import Flask

from api import app as api_app
from api import endpoints
from api_client import Caller, problem
from conftest import Database, fetch, free_port
from granary import project

VISITS = """
    create table marts.visits (
        visit_id integer primary key, "end" date, place character varying(20), is_paid boolean, price numeric,
        length_cm double precision, seen_at timestamp with time zone, tags text[], _batch_id bigint
    );
    comment on column marts.visits.price is 'What it cost.';
    insert into marts.visits
    select
        n, date '2026-02-01' + n % 3, 'place ' || n % 2, n % 2 = 0, n * 1.10, n / 3.0, '2026-02-01T10:00:00+01:00',
        array['a', 'b'], 7
    from generate_series(1, 5) as n
"""
BUILT = "'b1' as build_id, 'passed' as status, now() as finished_at, '' as schema_prefix"
COLUMNS = {
    "visit_id": "int",
    "end": "date",
    "place": "varchar",
    "is_paid": "boolean",
    "price": "numeric",
    "length_cm": "float",
    "seen_at": "timestamptz",
    "tags": "text[]",
    "_batch_id": "bigint",
}


@pytest.fixture(scope="module")
def warehouse(new_database: Callable[[], Database]) -> Iterator[Database]:
    """A database in which nothing is built, with roles and a token. This process uses it, too."""
    database = new_database()
    done = database.run("bin/warehouse", "roles")
    assert done.returncode == 0, done.stderr
    token = "insert into api.tokens (name, token_hash, feeds, rate_requests, rate_seconds) values (%s, %s, %s, 9999, 1)"
    for name, feeds in (("visitor", ["visits"]), ("stranger", [])):
        database.query(token, [name, hashlib.sha256(name.encode()).digest(), feeds])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in database.environment.items():
            patch.setenv(name, value)
        yield database


class Project:
    """A project whose only models are what a test writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "dbt" / "models" / "marts").mkdir(parents=True)

    def declare(self, name: str, api: object = True, columns: object = None, **more: object) -> None:
        """Write the YAML of a mart; JSON is YAML."""
        described = [{"name": column, "data_type": kind} for column, kind in (columns or COLUMNS).items()]
        model = {"name": name, "config": {"group": more.pop("group", "visits"), "meta": {"api": api}}, **more}
        file = self.root / "dbt" / "models" / "marts" / f"{name}.yml"
        file.write_text(json.dumps({"models": [model | {"columns": described}]}))

    @contextlib.contextmanager
    def serve(self, token: str = "visitor") -> Iterator[Caller]:
        """Give a client of the API as it now starts."""
        app: Flask = api_app.create_app()
        yield Caller(app.test_client(), token)
        app.extensions["pools"].dispose()


@pytest.fixture
def own(tmp_path: Path, warehouse: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """Give a project without models, and the table of one mart."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    warehouse.query(VISITS)
    yield Project(tmp_path)
    warehouse.query("drop table if exists marts.visits")


def test_a_mart_is_served_because_its_yaml_says_so(own: Project) -> None:
    own.declare("visits", description="Visits to places. One row each.")
    with own.serve() as caller:
        (row, *others) = caller.rows("visits?limit=2")
        assert [each["visit_id"] for each in others] == [2, 3, 4, 5]
        assert [*row] == [name for name in COLUMNS if name != "_batch_id"]
        assert row | {"length_cm": None} == {
            "visit_id": 1, "end": "2026-02-02", "place": "place 1", "is_paid": False, "price": row["price"],
            "length_cm": None, "seen_at": "2026-02-01T09:00:00+00:00", "tags": ["a", "b"],
        }  # fmt: skip
        for sort in COLUMNS.keys() - {"_batch_id"}:
            assert len(caller.rows(f"visits?limit=1&sort=-{sort}")) == 5
        table = pyarrow.parquet.read_table(io.BytesIO(caller.get("visits?format=parquet").data))
        assert table["price"].to_pylist() == [
            "1.10",
            "2.20",
            "3.30",
            "4.40",
            "5.50",
        ]
        assert table["tags"].to_pylist()[0] == "{a,b}"
        assert "1,2026-02-02,place 1,false,1.10," in caller.get("visits?format=csv").text
        (listed,) = caller.get("").json["endpoints"]
        assert listed == {
            "path": "/api/v1/visits", "summary": "Visits to places", "feed": "visits",
            "formats": ["json", "csv", "parquet", "excel"], "is_built": True,
        }  # fmt: skip
        described = caller.get("/openapi/openapi.json").json["components"]["schemas"]["visits"]["properties"]
        assert described["price"]["description"] == "What it cost."
        assert (described["visit_id"]["type"], described["price"]["type"]) == ("integer", ["number", "null"])


def test_filters_take_values_of_the_type_of_their_column(own: Project) -> None:
    filters = ["visit_id", "place", "price", {"paid": "is_paid"}, {"ended": "end"}, "length_cm"]
    own.declare("visits", {"path": "seen", "filters": filters})
    found = {
        "visit_id=2&visit_id=3": [2, 3],
        "visit_id=99999999999999999999": [],
        "visit_id=9223372036854775808&visit_id=3&visit_id=-9223372036854775809": [3],
        "place=place 1": [1, 3, 5],
        "price=2.2&price=-1": [2],
        "paid=true": [2, 4],
        "paid=true&paid=false": [1, 2, 3, 4, 5],
        "ended_from=2026-02-02&ended_to=2026-02-02": [1, 4],
        "length_cm=1": [3],
    }
    with own.serve() as caller:
        for query, expected in found.items():
            assert [row["visit_id"] for row in caller.rows(f"seen?{query}")] == expected, query
        for query in ("visit_id=1.5", "visit_id=٣", "price=1e5", "price=NaN", "paid=yes", "ended_from=now"):
            assert list(problem(caller.get(f"seen?{query}"), 400)["parameters"]) == [query.partition("=")[0]]
        assert problem(caller.get("visits"), 404)


def test_options_of_a_declaration(own: Project) -> None:
    options = {
        "path": None,
        "filters": None,
        "summary": "All visits",
        "columns": ["price", "visit_id"],
        "sortable": ["price"],
        "sort": "-price",
    }
    own.declare("visits", options)
    with own.serve() as caller:
        assert caller.get("").json["endpoints"][0]["summary"] == "All visits"
        assert caller.get("visits?limit=2&format=csv").text == "price,visit_id\n5.50,5\n4.40,4\n"
        assert list(problem(caller.get("visits?sort=visit_id"), 400)["parameters"]) == ["sort"]


MISTAKES = {
    "expected true or a mapping of path, summary": "yes please",
    "unknown key 'pth': choose from path, summary, columns": {"pth": "x"},
    "invalid path 'a/b': use lowercase letters": {"path": "a/b"},
    "invalid path 'health'": {"path": "health"},
    "unknown column 'prise': choose from visit_id, end, place": {"columns": ["prise"]},
    "unknown column '_batch_id'": {"columns": ["_batch_id"]},
    "expected a list for each column; found 'price'": {"columns": "price"},
    "seen_at can't be a filter: its data_type must be a date": {"filters": ["seen_at"]},
    "unknown column in filters 'plaice': choose from visit_id, end, place": {"filters": ["plaice"]},
    "expected true or a mapping of path, summary, columns": None,
    "unknown column in filters ['place']": {"filters": [{"where": ["place"]}]},
    "two parameters are called from": {"filters": ["end", "begin"]},
    "two parameters are called limit": {"filters": [{"limit": "price"}]},
    "unknown column in sortable 'x'": {"sortable": ["x"]},
    "unknown column in sort 'place': choose from price": {"sort": "-place", "sortable": ["price"]},
    "the columns must include the primary key: add visit_id": {"columns": ["price"]},
}


@pytest.mark.parametrize("said", MISTAKES)
def test_a_broken_declaration_costs_its_endpoint_only(
    own: Project, caplog: pytest.LogCaptureFixture, said: str
) -> None:
    own.declare("visits")
    key = [{"type": "primary_key", "columns": ["visit_id"]}]
    own.declare("broken", MISTAKES[said], COLUMNS | {"begin": "date"}, constraints=key)
    with own.serve() as caller:
        assert caller.get("visits").status_code == 200
        document = problem(caller.get("broken"), 503)
        assert f"dbt/models/marts/broken.yml: meta.api: {said}" in document["detail"]
        assert said in caller.get("").json["notes"][-1]
        assert [record.getMessage().count("\n") for record in caplog.records] == [0]
        assert said in caplog.text
        assert [*caller.get("/openapi/openapi.json").json["paths"]] == ["/api/v1/", "/api/v1/health", "/api/v1/visits"]


def test_a_broken_declaration_takes_no_path_of_another_mart(own: Project) -> None:
    own.declare("visits", {"path": "broken"})
    own.declare("broken", {"sort": "nothing"})
    with own.serve() as caller:
        assert len(caller.rows("broken")) == 5


def test_two_marts_with_one_path_are_both_refused(own: Project) -> None:
    own.declare("visits", {"path": "seen"})
    own.declare("others", {"path": "seen"})
    own.declare("third")
    assert [*endpoints.read_endpoints()[0]] == ["third"]
    with own.serve() as caller:
        detail = problem(caller.get("seen"), 503)["detail"]
        assert "dbt/models/marts/visits.yml" in detail
        assert "dbt/models/marts/others.yml has the path seen, too" in detail


def test_a_mart_that_is_gone_costs_its_endpoint_only(own: Project, warehouse: Database) -> None:
    own.declare("visits")
    own.declare("later", {"path": "soon"})
    with own.serve() as caller:
        answer = caller.get("soon")
        assert "marts.later isn't built yet: run bin/dbt build --select +later." in problem(answer, 503)["detail"]
        assert int(answer.headers["Retry-After"]) > 0
        assert caller.get("visits").status_code == 200
        assert [each["is_built"] for each in caller.get("").json["endpoints"]] == [False, True]
        assert "/api/v1/soon" in caller.get("/openapi/openapi.json").json["paths"]

        warehouse.query("alter table marts.visits rename to kept")
        assert "marts.visits isn't built yet" in problem(caller.get("visits"), 503)["detail"]
        warehouse.query("alter table marts.kept rename to visits")
        assert caller.get("visits").status_code == 200


def test_a_column_that_is_gone_is_named(own: Project, warehouse: Database) -> None:
    own.declare("visits")
    with own.serve() as caller:
        assert caller.get("visits").status_code == 200
        warehouse.query("alter table marts.visits drop column price, drop column place")
        detail = problem(caller.get("visits"), 503)["detail"]
    assert "marts.visits has no column place, price, which dbt/models/marts/visits.yml declares" in detail


def test_a_filter_of_another_type_than_declared_is_named(own: Project) -> None:
    own.declare("visits", {"filters": ["tags", "place"]}, COLUMNS | {"tags": "date"})
    with own.serve() as caller:
        detail = problem(caller.get("visits"), 503)["detail"]
    assert "tags in marts.visits is text[], but date in dbt/models/marts/visits.yml" in detail


def test_what_was_looked_up_before_a_change_is_looked_up_again(own: Project, warehouse: Database) -> None:
    """A build is known, so that the columns are kept; then the table changes without another build."""
    own.declare("visits")
    warehouse.query(f"create view marts.build_log as select {BUILT}")
    warehouse.query("create view marts.table_log as select 'visits' as table_name, 'b1' as build_id")
    warehouse.query("grant select on marts.build_log, marts.table_log to granary_reader")
    try:
        with own.serve() as caller:
            tag = caller.get("visits").headers["ETag"]
            assert caller.get("visits", If_None_Match=tag).status_code == 304
            warehouse.query("alter table marts.visits drop column price")
            assert "no column price" in problem(caller.get("visits"), 503)["detail"]
            warehouse.query("drop table marts.visits")
            assert "isn't built yet" in problem(caller.get("visits"), 503)["detail"]
    finally:
        warehouse.query("drop view marts.build_log, marts.table_log")


def test_a_mart_that_was_built_with_other_types_is_read_as_it_is_now(own: Project, warehouse: Database) -> None:
    """The select has the same text, so that its connection has prepared it already, for the types before."""
    own.declare("visits")
    warehouse.query(f"create table marts.written as select {BUILT}, 'visits' as table_name")
    warehouse.query("create view marts.build_log as select * from marts.written")
    warehouse.query("create view marts.table_log as select * from marts.written")
    warehouse.query("grant select on marts.build_log, marts.table_log to granary_reader")
    change = """
        alter table marts.visits alter column visit_id type bigint, alter column length_cm type integer,
            add weight bigint;
        update marts.written set build_id = 'b2'
    """
    try:
        with own.serve() as caller:
            before = [caller.get("visits?format=parquet") for _ in range(2)]
            warehouse.query(change)
            after = caller.get("visits?format=parquet")
        assert [answer.status_code for answer in (*before, after)] == [200, 200, 200]
        assert before[0].headers["ETag"] == before[1].headers["ETag"] != after.headers["ETag"]
        table = pyarrow.parquet.read_table(io.BytesIO(after.data))
        assert [str(table[name].type) for name in ("visit_id", "length_cm")] == ["int64", "int32"]
    finally:
        warehouse.query("drop view marts.build_log, marts.table_log")
        warehouse.query("drop table marts.written")


@pytest.mark.parametrize(
    ("mart", "columns", "path"),
    [
        ("build_log", "'b1' as build_id, 'passed' as status, now() as finished_at", "health"),
        ("build_log", "'b1' as build_id, '' as schema_prefix, now() as finished_at", "visits"),
        ("load_audit", "'visits' as feed, now() as loaded_at, 'loaded' as status", "health"),
    ],
)
def test_a_ledger_of_another_version_is_named(
    own: Project, warehouse: Database, mart: str, columns: str, path: str
) -> None:
    own.declare("visits")
    warehouse.query(f"create view marts.{mart} as select {columns}")
    warehouse.query(f"grant select on marts.{mart} to granary_reader")
    try:
        with own.serve() as caller:
            answer = caller.get(path)
            detail = problem(answer, 503)["detail"]
            assert f"marts.{mart} was built by another version of the project (column " in detail
            assert detail.endswith(f"run bin/dbt build --select +{mart} --full-refresh.")
            assert int(answer.headers["Retry-After"]) > 0
            assert caller.get("").status_code == 200
    finally:
        warehouse.query(f"drop view marts.{mart}")


def test_before_the_first_build_an_answer_has_no_tag(own: Project) -> None:
    own.declare("visits")
    with own.serve() as caller:
        answer = caller.get("visits", If_None_Match="*")
        assert answer.status_code == 200
        assert "ETag" not in answer.headers
        assert caller.get("health").json == {"status": "ok", "build": None, "latest_build_status": None, "feeds": []}


def test_a_mart_needs_a_key(own: Project, warehouse: Database) -> None:
    own.declare("visits")
    warehouse.query("alter table marts.visits drop constraint visits_pkey")
    with own.serve() as caller:
        detail = problem(caller.get("visits"), 503)["detail"]
        assert "marts.visits has no key, which its pages need: declare a primary key in dbt/models/marts/vis" in detail
        warehouse.query("create unique index on marts.visits (price) where is_paid")
        problem(caller.get("visits"), 503)
        warehouse.query("create unique index on marts.visits (price)")
        assert caller.rows("visits?limit=2")[0]["visit_id"] == 1
    own.declare("visits", constraints=[{"type": "primary_key", "columns": ["place", "visit_id"]}])
    with own.serve() as caller:
        assert [row["visit_id"] for row in caller.rows("visits?limit=2")] == [2, 4, 1, 3, 5]


@pytest.mark.parametrize(("group", "status"), [("core", 200), ("visits", 403), ("zoo", 403)])
def test_every_token_reads_the_marts_of_the_core(own: Project, group: str, status: int) -> None:
    own.declare("visits", group=group)
    with own.serve("stranger") as caller:
        answer = caller.get("visits")
        assert answer.status_code == status
        if status == 403:
            assert f"The token may read no feed, and this path needs {group}" in problem(answer, 403)["detail"]


def test_a_project_without_feeds_has_an_index(own: Project) -> None:
    with own.serve("nobody") as caller:
        for path in ("/", "/api/v1/"):
            index = caller.get(path).json
            assert (index["name"], index["feeds"], index["endpoints"]) == ("granary", [], [])
            assert index["notes"][0] == "This project has no feeds."
            assert {caller.get(index[link]).status_code for link in ("health", "openapi", "swagger")} == {200}
            assert problem(caller.get(f"{path}?x=1"), 400)["parameters"] == {"x": "unknown"}
        assert caller.client.get("/api/v1", follow_redirects=True).json == caller.get("/").json
        assert "/api/v1/ lists the paths" in problem(caller.get("visits"), 404)["detail"]


def test_the_index_and_the_document_need_no_database(own: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    own.declare("visits", {"filters": ["end"]})
    monkeypatch.setenv("PGDATABASE", "no_such_database")
    with own.serve() as caller:
        assert caller.get("/").json["endpoints"][0]["is_built"] is None
        document = caller.get("/openapi/openapi.json").json
        assert document["components"]["schemas"]["visits"]["properties"]["end"]["format"] == "date"
        assert problem(caller.get("visits"), 503)


def test_the_server_starts_before_anything_is_built(database: Database) -> None:
    port = free_port()
    with database.start("bin/api", "--port", port) as process:
        index = json.loads(fetch(f"http://127.0.0.1:{port}/", process))
        assert {each["is_built"] for each in index["endpoints"]} <= {False}
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.communicate(timeout=30)[1]
