"""Which files there are, and which rows they hold: granary.loader.landing, names and streams."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from granary import brands, declared
from granary.loader import csv_records, json_records, landing, records, streams
from granary.project import ROOT, GranaryError
from granary.text import snake_case

pytestmark = pytest.mark.fast

WHOLE = ("ragged", "stray_quote")  # reasons for which a record over several lines is rejected as a whole
ORDERS = declared.Entity("tickets", "orders", "tickets__orders", ("order_id", "note"), Path())
SOURCES = """
sources:
  - name: tickets
    loader: bin/ingest
    tables:
      - name: orders
        identifier: tickets__orders
        columns: [{name: order_id}, {name: note}]
  - name: ledger
    tables: [{name: _batches}]
"""


def parsed(body: bytes) -> list[tuple]:
    """Return (line, fields or reason) of CSV bytes after a header of two columns."""
    found = read(body, ["1st", "2nd"], 2)
    return [(record.number, record.problem.reason if record.problem else record.fields) for record in found]


def read(body: bytes, *arguments: object) -> list[records.Record]:
    """Return the records of CSV bytes, each read by itself."""
    reader = csv_records.CsvReader(io.BufferedReader(io.BytesIO(body)), *arguments)
    return list(iter(reader.record, None))


def landing_file(path: Path) -> landing.LandingFile:
    """Return a file of orders."""
    return landing.LandingFile(path.parent, path.name, ORDERS)


# -- Declarations and discovery ----------------------------------------------------------------------------------------


@pytest.mark.feeds("tickets")
def test_the_project_declares_its_feeds():
    entities = declared.entities(ROOT / "dbt" / "models")
    assert entities["tickets", "orders"].columns == (
        *("order_id", "account_id", "showtime_id", "created_at", "total_amount"),
    )
    assert ("ledger", "_batches") not in entities


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("identifier: tickets__orders", "identifier: orders"), "needs `identifier: tickets__orders`"),
        (("name: tickets", "name: tick__ets"), "a feed can't be called tick__ets"),
        (("name: tickets", "name: tickets_"), "a feed can't be called tickets_"),
        (("name: tickets", "name: quality"), "a feed can't be called quality"),
        (("{name: note}", "{name: Note}"), 'orders, column Note: not a name that a column can have: use "note"'),
        (
            ("{name: note}", "{name: xmin}"),
            'orders, column xmin: not a name that a column can have: use "column__xmin"',
        ),
        (("{name: note}", "{name: 2026}"), 'orders, column 2026: not a name that a column can have: use "2026"'),
        (("{name: note}", "{name: a__}"), 'orders, column a__: not a name that a column can have: use "a"'),
        (("{name: note}", "{name: order_id}"), "orders has the column order_id twice: remove one"),
        (("[{name: order_id}, {name: note}]", "[]"), "orders needs columns"),
        (("[{name: order_id}, {name: note}]", ""), "orders needs columns"),
        (("    tables:", "    tables:\n    other:"), "source tickets has no tables"),
        (
            ("{name: note}", "{name: note, config: {meta: {required: true, optional: true}}}"),
            "orders: note is required and optional: remove one of them",
        ),
        (
            (
                "columns: [{name: order_id}, {n",
                "config: {meta: {records: [a]}}\n        columns: [{name: order_id}, {n",
            ),
            "table orders: `records` needs keys joined by dots, such as data.items",
        ),
        (("- name: tickets\n", "- nam: tickets\n"), "not a valid declaration of sources: KeyError('name')"),
        (("tables:", "tables: 3 #"), "not valid YAML: "),
        (
            ("    tables:\n      - name: orders", "    tables:\n      - nam: orders"),
            "not a valid declaration of sources: KeyError('name')",
        ),
    ],
)
def test_a_declaration_that_could_not_work_is_refused(tmp_path: Path, change: tuple[str, str], message: str):
    (tmp_path / "s.yml").write_text(SOURCES.replace(*change))
    with pytest.raises(GranaryError, match=r"s\.yml") as caught:
        declared.entities(tmp_path)
    assert message in str(caught.value)
    assert len(declared.feeds(tmp_path)) == 1, "who only needs the names gets them"


def test_files_are_found_in_the_order_of_loading_and_undeclared_ones_are_named(tmp_path: Path):
    (tmp_path / "s.yml").write_text(SOURCES)
    names = [
        *("initial/tickets/orders.csv", "incremental/tickets/orders/b10.jsonl.gz", "incremental/tickets/orders/b9.CSV"),
        *("incremental/tickets/orders/.hidden.csv", "incremental/tickets/orders/b9.xls", "initial/stray.csv"),
        *("incremental/nofeed/orders/b1.csv", "incremental/tickets/nothing/b1.csv"),
        *("incremental/tickets/orders/deep/b1.csv", "incremental/tickets/orders/line\nbreak.csv"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "incremental/tickets/orders/gone.csv").symlink_to("nowhere.csv")
    files = landing.discover(tmp_path, declared.entities(tmp_path))
    good = [(file.label, file.format) for file in files if file.entity]
    assert good == [("tickets/orders/initial", ".csv"), ("tickets/orders/b9", ".csv"), ("tickets/orders/b10", ".jsonl")]
    assert {file.relative for file in files if not file.entity} == {
        *("incremental/nofeed/orders/b1.csv", "incremental/tickets/nothing/b1.csv", "initial/stray.csv"),
        *("incremental/tickets/orders/b9.xls", "incremental/tickets/orders/deep"),
        *("'incremental/tickets/orders/line\\nbreak.csv'", "incremental/tickets/orders/gone.csv"),
    }
    selected = landing.select(files, ["tickets/orders/b9", str(tmp_path / "initial/tickets/orders.csv")], False)
    assert [file.label for file in selected if file.entity] == ["tickets/orders/initial", "tickets/orders/b9"]
    assert len(landing.select(files, ["nofeed"], False)) == 1
    with pytest.raises(GranaryError, match="no landing file matches tickets/orders/b:"):
        landing.select(files, ["tickets/orders/b"], False)


# -- Brands ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "brand", "way_out"),
    [
        ("wl_acme", "acme", None),
        ("wl_7_eleven", "7_eleven", None),
        ("wl_Acme", "Acme", "rename to wl_acme"),
        ("WL_acme", "acme", "rename to wl_acme"),
        ("wl-acme-uk", "acme_uk", "rename to wl_acme_uk"),
        ("wl_acme uk", "acme uk", "rename to wl_acme_uk"),
        ("wl_a__b", "a__b", "rename to wl_a_b"),
        ("wl_acme_", "acme_", "rename to wl_acme"),
        ("wl_zoë", "zoë", "rename it"),
        ("wl_?", "?", "rename it"),
        (f"wl_{63 * 'a'}", 63 * "a", None),
        (f"wl_{64 * 'a'}", 64 * "a", "rename it"),
        ("wl_", None, None),
        ("xl_acme", None, None),
    ],
)
def test_names_of_brands_are_one_to_one_with_those_of_folders(name: str, brand: str | None, way_out: str | None):
    pattern = brands.pattern("feeds", "wl_*")
    assert pattern.brand_in(name) == brand
    problem = pattern.problem(name) if brand else None
    assert (problem or "").endswith(way_out or ""), problem
    assert bool(problem) == bool(way_out)
    assert problem or not brand or pattern.name(brand) == name


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("wl_*", "wl_*", True),
        ("wl_*", "wl_x_*", True),
        ("wl_*", "*_shop", True),
        ("wl_*", "xl_*", False),
        ("a_*_shop", "a_*_store", False),
    ],
)
def test_patterns_overlap_if_a_name_can_match_both(one: str, other: str, overlap: bool):
    patterns = [brands.pattern("feeds", text) for text in (one, other)]
    assert patterns[0].overlaps(patterns[1]) == patterns[1].overlaps(patterns[0]) == overlap


def test_files_of_brands_are_those_of_their_source(tmp_path: Path):
    source = SOURCES.replace("bin/ingest\n", "bin/ingest\n    config: {meta: {feeds: wl_*}}\n")
    (tmp_path / "s.yml").write_text(source)
    for name in (
        *("initial/wl_acme/orders.csv", "incremental/wl_acme/orders/b1.csv", "incremental/wl_bolt/orders/b1.csv"),
        *(
            "incremental/wl_Cola/orders/b1.csv",
            "incremental/wl_acme/visits/b1.csv",
            "incremental/tickets/orders/b1.csv",
        ),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    entities = declared.entities(tmp_path)
    files = landing.discover(tmp_path, entities)
    assert [(file.label, file.brand) for file in files if file.entity] == [
        ("wl_acme/orders/initial", "acme"),
        ("wl_acme/orders/b1", "acme"),
        ("wl_bolt/orders/b1", "bolt"),
    ]
    said = {file.label: file.problem for file in files if not file.entity}
    assert said.keys() == {"wl_Cola/orders/b1", "wl_acme/visits/b1", "tickets/orders/b1"}
    assert said["wl_Cola/orders/b1"].endswith("rename to wl_cola")
    assert said["tickets/orders/b1"].endswith("move the file to incremental/wl_<brand>/orders")
    for name, count in (("tickets", 4), ("tickets/orders", 4), ("wl_acme", 3), ("wl_bolt/orders/b1", 1)):
        assert len(landing.select(files, [name])) == count, name
    unusable = landing.discover(tmp_path, entities, ["wl_acme"])
    assert [file.label for file in unusable if file.entity] == ["wl_bolt/orders/b1"], "a feed's folder is no brand's"


@pytest.mark.parametrize("setting", ["", "1"])
def test_links_out_of_the_data_folder_are_followed_only_where_they_are_allowed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
):
    monkeypatch.setenv("GRANARY_OUTWARD_LINKS", setting)
    (tmp_path / "s.yml").write_text(SOURCES)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/b1.csv").write_bytes(b"")
    (tmp_path / "data/incremental/tickets").mkdir(parents=True)
    (tmp_path / "data/incremental/tickets/orders").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "link").symlink_to("data")  # the root itself may be one
    [file] = landing.discover(tmp_path / "link", declared.entities(tmp_path))
    assert bool(file.entity) == bool(setting)
    assert setting or (file.relative, file.problem) == ("incremental/tickets/orders", landing.OUTWARD_LINK)


# -- Headers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "column"),
    [
        *(("order_id", "order_id"), ("Order ID", "order_id"), ("orderId", "order_id"), ("ORDER-ID", "order_id")),
        *(("isGovEmployee", "is_gov_employee"), ("HTTPStatus", "http_status"), ("high_24h_usd", "high_24h_usd")),
        *(("  a; drop table b --", "a_drop_table_b"), ('q"uote', "q_uote"), ("_batch_id", "batch_id")),
        *(("Größe", "größe"), ("e\u0301", "é"), ("%", ""), ("..", "")),
    ],
)
def test_names_become_snake_case(name: str, column: str):
    assert snake_case(name) == column


@given(st.text())
def test_snake_case_changes_nothing_the_second_time(name: str):
    assert snake_case(snake_case(name)) == snake_case(name)


# -- CSV ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"a,b\nc,d", [(2, ["a", "b"]), (3, ["c", "d"])]),
        (b"a,b\r\nc,\r\n", [(2, ["a", "b"]), (3, ["c", ""])]),
        (b'"a\nx",b\nc,d\n', [(2, ["a\nx", "b"]), (4, ["c", "d"])]),
        (b'"a\r\n""x""\n",b\nc,d\n', [(2, ['a\r\n"x"\n', "b"]), (5, ["c", "d"])]),
        (b'12" pipe,b\n', [(2, ['12" pipe', "b"])]),
        (b'"a\nb",12" pipe\nc,d\n', [(2, ["a\nb", '12" pipe']), (4, ["c", "d"])]),
        (b"\\.\n\\.,x\n", [(2, "ragged"), (3, ["\\.", "x"])]),
        (b"\n \n", [(2, "blank"), (3, "ragged")]),
        (b'a\n"b\nb",c,d\n', [(2, "ragged"), (3, "ragged")]),
        (b'a,"b\nc,d\ne,f\n', [(2, "unclosed_quote"), (3, ["c", "d"]), (4, ["e", "f"])]),
        (b'a,"b"x\nc,d\n', [(2, "misplaced_quote"), (3, ["c", "d"])]),
        (b'a,"b\nc,"d"\n', [(2, "misplaced_quote"), (3, ["c", "d"])]),
        (b"a,b\rc,d\n", [(2, "carriage_return")]),
        (b'a"b, c"\n', [(2, "stray_quote")]),
        (b'a"b,c\n', [(2, ['a"b', "c"])]),
        (b'6" x,"b, c"\n', [(2, ['6" x', "b, c"])]),
        (b'"a, b",6"\n', [(2, ["a, b", '6"'])]),
        (b'"a"",",b"\n', [(2, "stray_quote")]),  # of "a",",b"
        (b'a, "b"\n', [(2, "space_before_quote")]),
        (b'a, "b, c"\n', [(2, "space_before_quote")]),
        (b'a\nb,c"\nd,e"\n', [(2, "ragged"), (3, "stray_quote"), (4, ["d", 'e"'])]),
        (b'1st,2nd\n"2nd",1st\n', [(2, "repeated_header"), (3, ["2nd", "1st"])]),
    ],
)
def test_lines_of_csv(body: bytes, expected: list[tuple]):
    assert parsed(body) == expected


def test_what_is_over_the_limit_is_rejected_and_costs_no_other_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "LIMIT", 20)
    assert parsed(b"a," + b"x" * 50 + b"\nc,d\n") == [(2, "too_long"), (3, ["c", "d"])]
    assert parsed(b'a,"b\n' + b"c,d\n" * 4) == [(2, "too_long"), *((n, ["c", "d"]) for n in range(3, 7))]
    assert parsed(b'a,"b\n' + b"x" * 50 + b"\nc,d\n") == [(2, "too_long"), (3, "too_long"), (4, ["c", "d"])]


def test_copy_gets_no_line_that_is_over_the_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(records, "LIMIT", 20)
    monkeypatch.setattr(records, "BLOCK", 8)

    def parts(text: bytes) -> list[bytes]:
        reader = csv_records.CsvReader(io.BufferedReader(io.BytesIO(text)), ["1st", "2nd"], 2)
        return [(type(part).__name__, part.text) for part in reader.parts()]

    plain = [("PlainLines", b"a,b\nc,d\n"), ("PlainLines", b"e,xxxxxxxxxxx\n")]
    assert parts(b"a,b\nc,d\ne,xxxxxxxxxxx\n") == plain
    assert parts(b"a,b\nc," + b"x" * 20 + b"\n") == [("PlainLines", b"a,b\n"), ("Record", b"c," + b"x" * 20 + b"\n")]


def test_lines_that_all_open_a_quote_take_linear_time():
    body = b'x",y,"abc\n' * 20_000
    assert len(parsed(body)) >= 10_000


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2)))
def test_what_the_csv_module_writes_is_read_as_it_was(rows: list[list[str]]):
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    assert [record.fields for record in read(file.getvalue().encode())] == rows


PIECES = [b"a" * 20, b"a", b",", b'"', b"\n", b"\r", b'""', b"a,b\n", b'"a\nb",c\n', b"\xe9\0"]


@given(
    content=st.lists(st.sampled_from(PIECES)).map(b"".join),
    width=st.integers(0, 3),
    limit=st.sampled_from([12, 1000]),
)
def test_csv_records_are_the_whole_file_each_line_once_and_in_order(content: bytes, width: int, limit: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "LIMIT", limit)
        found = read(content, list("abc")[:width])
    if max(map(len, content.split(b"\n"))) < limit:  # of a longer line, only the beginning is kept
        assert b"".join(record.text for record in found) == content
    number = 1
    for record in found:
        assert (record.number, bool(record.text)) == (number, True)
        assert record.problem is None or record.text.count(b"\n") <= 1 or record.problem.reason in WHOLE
        number += record.text.count(b"\n") or 1  # a line that is cut off has no end


@pytest.mark.parametrize(
    ("block", "plain"),
    [
        *((b"a,b\n", True), (b'"a","b"\r\n', True), (b'"","""",x\n', True), (b'x,"a""b,""c"\n', True), (b'""', True)),
        *((b'12" pipe,b\n', False), (b'a""b\n', False), (b'"a" ,b\n', False), (b'a, "b"\n', False), (b'"a\n', False)),
        *((b"a\rb\n", False), (b'"a\rb"\n', False), (b'"a"b"c"\n', False)),
    ],
)
def test_blocks_with_odd_quotes_are_not_plain(block: bytes, plain: bool):
    assert (csv_records.bare(block) is not None) is plain


# -- JSON --------------------------------------------------------------------------------------------------------------


def elements(tmp_path: Path, text: bytes, block: int = records.BLOCK) -> list[tuple[int, bytes]]:
    """Return the elements of an array that is read in blocks of so many bytes."""
    path = tmp_path / "x.json"
    path.write_bytes(text)
    with streams.opened(landing_file(path)) as (_, stream), pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK", block)
        return [(record.number, record.text) for record in json_records.json_records(landing_file(path), stream)]


@pytest.mark.parametrize("block", [1, 7, 1 << 17])
def test_elements_of_an_array_are_told_apart(tmp_path: Path, block: int):
    text = b'\xef\xbb\xbf [\n{"a": "]},\\""},\n\n {"b": [1, {"c": 2}]} , 3, "x,]", [[]]\n]\n'
    expected = [(2, b'{"a": "]},\\""}'), (4, b'{"b": [1, {"c": 2}]}'), (4, b"3"), (4, b'"x,]"'), (4, b"[[]]")]
    assert elements(tmp_path, text, block) == expected
    assert elements(tmp_path, b" [ ] ", block) == []


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b'[\n{"a": 1},\n{"a": ', 3),
        (b'[\n{"a": 1},\n{"a": 2', 3),
        (b'[\n{"a": 1}\n', 3),
        (b'[\n{"a": 1},\n', 3),
        (b"[1,\n{bad}]", 2),
        (b"[1]\n[2]", 2),
        (b'[{"a": "', 1),
    ],
)
def test_a_damaged_array_is_refused_with_its_line(tmp_path: Path, text: bytes, line: int):
    with pytest.raises(GranaryError, match=rf"^x\.json, line {line}: the JSON is damaged or cut off"):
        elements(tmp_path, text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values=st.lists(JSON), indent=st.none() | st.integers(0, 2), block=st.sampled_from([1, 3, 64]))
def test_any_json_array_is_told_apart_as_json_does(values: list, indent: int | None, block: int):
    stream = io.BufferedReader(io.BytesIO(json.dumps(values, indent=indent).encode()), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK", block)
        found = list(json_records.json_records(landing_file(Path("x.json")), stream))
    assert [json.loads(record.text) for record in found] == values


@given(st.lists(st.text("ab_0129.", max_size=6), max_size=6))
def test_numbers_in_names_count_as_numbers(names: list[str]):
    def by_numbers(name: str) -> list[str | int]:
        parts = re.split("([0-9]+)", name)
        return [int(part) if place % 2 else part for place, part in enumerate(parts)]

    assert sorted(names, key=landing.in_natural_order) == sorted(names, key=by_numbers)
