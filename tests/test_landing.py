"""scripts/landing.py: declarations, discovery, headers, and which lines can be rows."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import landing
from warehouse import ROOT, GranaryError

ORDERS = landing.Entity("tickets", "orders", ("order_id", "note"), Path("sources.yml"))
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


def parsed(body: bytes, width: int | None = 2, number: int = 2) -> list[tuple]:
    """Return (line, values or reason) of CSV bytes."""
    lines = landing.csv_lines(io.BufferedReader(io.BytesIO(body)), number, width)
    return [(line.number, line.values if line.reason is None else line.reason) for line in lines]


def landing_file(path: Path) -> landing.LandingFile:
    """Return a file of orders."""
    return landing.LandingFile(path, path.name, "tickets/orders/x", path.suffixes[0], ORDERS)


# -- Declarations and discovery ----------------------------------------------------------------------------------------


def test_the_project_declares_its_feeds():
    entities = landing.declared_entities(ROOT / "dbt" / "models")
    assert entities["tickets", "orders"].columns == (
        *("order_id", "account_id", "showtime_id", "created_at", "total_amount"),
    )
    assert ("ledger", "_batches") not in entities


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("identifier: tickets__orders", "identifier: orders"), "needs `identifier: tickets__orders`"),
        (("{name: note}", "{name: Note}"), "column 'Note' must be a name in snake_case"),
        (("{name: note}", "{name: order_id}"), "that is listed once"),
        (("[{name: order_id}, {name: note}]", "[]"), "declares no columns"),
        (("tables:", "tables: 3 #"), "not valid YAML"),
        (("    tables:\n      - name: orders", "    tables:\n      - nam: orders"), "can't be read (KeyError('name'))"),
    ],
)
def test_a_declaration_that_could_not_work_is_refused(tmp_path: Path, change: tuple[str, str], message: str):
    (tmp_path / "s.yml").write_text(SOURCES.replace(*change))
    with pytest.raises(GranaryError, match=r"s\.yml") as caught:
        landing.declared_entities(tmp_path)
    assert message in str(caught.value)


def test_files_are_found_in_the_order_of_loading_and_strangers_are_named(tmp_path: Path):
    (tmp_path / "s.yml").write_text(SOURCES)
    names = [
        *("initial/tickets/orders.csv", "incremental/tickets/orders/b10.jsonl.gz", "incremental/tickets/orders/b9.CSV"),
        *("incremental/tickets/orders/.hidden.csv", "incremental/tickets/orders/b9.xlsx", "initial/stray.csv"),
        *("incremental/nofeed/orders/b1.csv", "incremental/tickets/nothing/b1.csv"),
        *("incremental/tickets/orders/deep/b1.csv", "incremental/tickets/orders/line\nbreak.csv"),
    ]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "incremental/tickets/orders/gone.csv").symlink_to("nowhere.csv")
    files = landing.discover(tmp_path, landing.declared_entities(tmp_path))
    good = [(file.label, file.format) for file in files if not file.problem]
    assert good == [("tickets/orders/initial", ".csv"), ("tickets/orders/b9", ".csv"), ("tickets/orders/b10", ".jsonl")]
    problems = {file.relative: file.problem for file in files if file.problem}
    assert 'feed "nofeed" is not declared; add a source nofeed' in problems["incremental/nofeed/orders/b1.csv"]
    assert 'feed tickets has no entity "nothing"; add a table to' in problems["incremental/tickets/nothing/b1.csv"]
    assert "only .csv, .json, .jsonl" in problems["incremental/tickets/orders/b9.xlsx"]
    assert "isn't read" in problems["incremental/tickets/orders/deep"]
    assert "can't be printed" in problems["incremental/tickets/orders/line\\nbreak.csv"]
    assert "link to nowhere" in problems["incremental/tickets/orders/gone.csv"]
    assert "it belongs in initial/<feed>/" in problems["initial/stray.csv"]
    assert len(problems) == 7
    selected = landing.select(files, ["tickets/orders/b9", str(tmp_path / "initial/tickets/orders.csv")], False)
    assert [file.label for file in selected if not file.problem] == ["tickets/orders/initial", "tickets/orders/b9"]
    assert landing.select(files, ["nofeed"], False)[0].problem
    with pytest.raises(GranaryError, match="no landing file is called tickets/orders/b;"):
        landing.select(files, ["tickets/orders/b"], False)


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
    assert landing.snake_case(name) == column


@given(st.text())
def test_snake_case_changes_nothing_the_second_time(name: str):
    assert landing.snake_case(landing.snake_case(name)) == landing.snake_case(name)


# -- CSV ---------------------------------------------------------------------------------------------------------------

BAD_QUOTE, RAGGED = "a quote is opened and never closed", "it has {} fields, and the header has 2"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"a,b\nc,d", [(2, [b"a", b"b"]), (3, [b"c", b"d"])]),
        (b"a,b\r\nc,\r\n", [(2, [b"a", b"b"]), (3, [b"c", b""])]),
        (b'"a\nx",b\nc,d\n', [(2, [b"a\nx", b"b"]), (4, [b"c", b"d"])]),
        (b'"a\r\n""x""\n",b\nc,d\n', [(2, [b'a\r\n"x"\n', b"b"]), (5, [b"c", b"d"])]),
        (b'12" pipe,b\n', [(2, [b'12" pipe', b"b"])]),
        (b'"a\nb",12" pipe\nc,d\n', [(2, [b"a\nb", b'12" pipe']), (4, [b"c", b"d"])]),
        (b"\\.\n\\.,x\n", [(2, RAGGED.format(1)), (3, [b"\\.", b"x"])]),
        (b"\n \n", [(2, "a blank line"), (3, RAGGED.format(1))]),
        (b'a\n"b\nb",c,d\n', [(2, RAGGED.format(1)), (3, RAGGED.format(3))]),
        (b'a,"b\nc,d\ne,f\n', [(2, BAD_QUOTE), (3, [b"c", b"d"]), (4, [b"e", b"f"])]),
        (b'a,"b"x\nc,d\n', [(2, "there is text after a closing quote"), (3, [b"c", b"d"])]),
        (b'a,"b\nc,"d"\n', [(2, "there is text after a closing quote"), (3, [b"c", b"d"])]),
        (b"a,\xe9\nc,\0\n", [(2, "it is not UTF-8 (byte 0xe9 at byte 3)"), (3, "it holds a NUL character")]),
        (b"a,b\rc,d\n", [(2, "a carriage return outside of quotes")]),
    ],
)
def test_lines_of_csv(body: bytes, expected: list[tuple]):
    assert parsed(body) == expected


def test_what_is_over_the_limit_is_set_aside_and_costs_no_other_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landing, "LIMIT", 20)
    too_long, endless = "it is longer than 20 bytes", BAD_QUOTE
    assert parsed(b"a," + b"x" * 50 + b"\nc,d\n") == [(2, too_long), (3, [b"c", b"d"])]
    assert parsed(b'a,"b\n' + b"c,d\n" * 4) == [(2, endless), *((n, [b"c", b"d"]) for n in range(3, 7))]
    assert parsed(b'a,"b\n' + b"x" * 50 + b"\nc,d\n") == [(2, endless), (3, too_long), (4, [b"c", b"d"])]


def test_lines_that_all_open_a_quote_take_linear_time():
    body = b'x",y,"abc\n' * 20_000
    assert len(parsed(body)) >= 10_000


@given(st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=2)))
def test_what_the_csv_module_writes_is_read_as_it_was(rows: list[list[str]]):
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    lines = list(landing.csv_lines(io.BufferedReader(io.BytesIO(file.getvalue().encode())), 1, None))
    assert [[value.decode() for value in line.values or []] for line in lines] == rows


@pytest.mark.parametrize(
    ("block", "plain"),
    [
        *((b"a,b\n", True), (b'"a","b"\r\n', True), (b'"","""",x\n', True), (b'x,"a""b,""c"\n', True), (b'""', True)),
        *((b'12" pipe,b\n', False), (b'a""b\n', False), (b'"a" ,b\n', False), (b'a, "b"\n', False), (b'"a\n', False)),
        *((b"a\rb\n", False), (b'"a\rb"\n', False), (b'"a"b"c"\n', False)),
    ],
)
def test_blocks_with_odd_quotes_are_not_plain(block: bytes, plain: bool):
    assert landing.is_plain(block) is plain


# -- JSON --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (b'{"a": 1.10, "b": 1e5, "c": -0}', [b"1.10", b"1e5", b"-0"]),
        (b'{"a": true, "b": null, "c": ""}', [b"true", None, b""]),
        (b'{"a": {"x": [1.0, "\\u00e9\\"", null]}, "b": [], "c": 12345678901234567890}',
         [b'{"x": [1.0, "\xc3\xa9\\"", null]}', b"[]", b"12345678901234567890"]),
    ],
)  # fmt: skip
def test_values_of_json_land_as_delivered(text: bytes, values: list[bytes | None]):
    assert list(landing.json_object(text).values()) == values


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "a blank line"),
        (b"[1]", "it is not a JSON object"),
        (b'{"a": 1,}', "it is not JSON: "),
        (b'{"a": NaN}', "it is not JSON: NaN"),
        (b'{"a": 1, "a": 2}', 'key "a" is there twice'),
        (b'{"a": {"b": 1, "b": 2}}', 'key "b" is there twice'),
        (b'{"a": "\\u0000"}', "it holds a NUL character"),
        (b'{"a": ["\\u0000"]}', "it holds a NUL character"),
        (b'{"a": "\\ud800"}', "it holds half of a surrogate pair"),
        (b'{"\\ud800": "a"}', "it holds half of a surrogate pair"),
        (b'{"a": "\xe9"}', "it is not UTF-8 (byte 0xe9 at byte 8)"),
        (b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "it is nested over 100 levels deep"),
        (b'{"a": ' + b"[" * 200_000 + b"]" * 200_000 + b"}", "it is nested over 100 levels deep"),
    ],
)
def test_json_that_can_not_be_a_row(text: bytes, reason: str):
    with pytest.raises(landing.NotARow) as caught:
        landing.json_object(text)
    assert reason in str(caught.value)


def elements(tmp_path: Path, text: bytes, block: int = landing.BLOCK) -> list[tuple[int, bytes]]:
    """Return the elements of an array that is read in blocks of so many bytes."""
    path = tmp_path / "x.json"
    path.write_bytes(text)
    with landing.opened(landing_file(path)) as source, pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "BLOCK", block)
        return list(landing.array_elements(landing_file(path), source.stream))


@pytest.mark.parametrize("block", [1, 7, 1 << 17])
def test_elements_of_an_array_are_told_apart(tmp_path: Path, block: int):
    text = b'\xef\xbb\xbf [\n{"a": "]},\\""},\n\n {"b": [1, {"c": 2}]} , 3, "x,]", {bad}\n]\n'
    expected = [(2, b'{"a": "]},\\""}'), (4, b'{"b": [1, {"c": 2}]}'), (4, b"3"), (4, b'"x,]"'), (4, b"{bad}")]
    assert elements(tmp_path, text, block) == expected
    assert elements(tmp_path, b" [ ] ", block) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b'{"a": 1}', "line 1: a .json file holds an array"),
        (b"", "line 1: a .json file holds an array"),
        (b'[\n{"a": 1},\n{"a": ', "line 3: the array is cut off"),
        (b'[\n{"a": 1}\n', "line 3: the array is cut off, or a comma is missing"),
        (b'[{"a": 1} {"a": 2}]', "line 1: the array is cut off, or a comma is missing"),
        (b"[1,\n]", "line 2: an element of the array is missing"),
        (b"[1]\n[2]", "line 2: there is text after the array's end"),
        (b'[{"a": "', "line 1: the array is cut off"),
    ],
)
def test_a_damaged_array_is_refused_with_its_line(tmp_path: Path, text: bytes, message: str):
    with pytest.raises(GranaryError, match=r"^x\.json, ") as caught:
        elements(tmp_path, text)
    assert message in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values=st.lists(JSON), indent=st.none() | st.integers(0, 2), block=st.sampled_from([1, 3, 64]))
def test_any_json_array_is_told_apart_as_json_does(values: list, indent: int | None, block: int):
    stream = io.BufferedReader(io.BytesIO(json.dumps(values, indent=indent).encode()), 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(landing, "BLOCK", block)
        found = list(landing.array_elements(landing_file(Path("x.json")), stream))
    assert [json.loads(text) for _, text in found] == values
