"""Files in a declared format: each value as it was delivered, each row with its line, read fast or with care."""

from __future__ import annotations

import csv
import datetime
import io
import json
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from granary import declared
from granary.loader import csv_records, streams
from granary.loader.landing import LandingFile
from granary.loader.records import PlainLines
from granary.loader.rows import numbered, written
from granary.project import is_installed
from test_loader import ORDERS, Project, load, project

__all__ = ["load", "project"]  # fixtures
pytestmark = pytest.mark.fast
Load = Callable[..., tuple[int, str, str]]
COLUMNS = ["id", "note"]


def declare(project: Project, **settings: Any) -> None:
    """Declare the format of the orders of the shop."""
    table = {
        "name": "orders",
        "identifier": "shop__orders",
        "config": {"meta": {"format": settings}},
        "columns": [{"name": "id", "config": {"meta": {"required": True}}}, {"name": "note"}],
    }
    source = {"name": "shop", "loader": "bin/ingest", "tables": [table]}
    (project.root / "dbt/models/sources.yml").write_text(json.dumps({"sources": [source]}))


@pytest.mark.parametrize(
    ("name", "settings", "content", "rows"),
    [
        (
            "semicolons.csv",
            {"delimiter": ";"},
            b'id;note\r\n1;1.044,90\r\n2;"a;b"\r\n',
            [(2, "1", "1.044,90"), (3, "2", "a;b")],
        ),
        ("tabs.tsv", {}, b"id\tnote\n1\ta, b\n", [(2, "1", "a, b")]),
        ("bars.txt", {"delimiter": "|"}, b"id|note\n1|a\n", [(2, "1", "a")]),
        (
            "apostrophes.csv",
            {"quote": "'"},
            b"id,note\n1,'a,b'\n2,say \"no\"\n",
            [(2, "1", "a,b"), (3, "2", 'say "no"')],
        ),
        ("no_quotes.csv", {"quote": "none"}, b'id,note\n1,"\n2,6" wide\n', [(2, "1", '"'), (3, "2", '6" wide')]),
        ("western.csv", {"encoding": "windows-1252"}, "id,note\n1,Café €\n".encode("cp1252"), [(2, "1", "Café €")]),
        ("japan.csv", {"encoding": "shift_jis"}, "id,note\n1,表示\n".encode("shift_jis"), [(2, "1", "表示")]),
        ("marked.csv", {"encoding": "windows-1252"}, "id,note\n1,ä\n".encode("utf-8-sig"), [(2, "1", "ä")]),
        ("wide.csv", {"delimiter": ";"}, "id;note\n1;ä\n".encode("utf-16"), [(2, "1", "ä")]),
        ("report.csv", {"skip_lines": 2}, b"Sales, February\n\nid,note\n1,a\n", [(4, "1", "a")]),
        ("bare.csv", {"header": COLUMNS}, b"1,a\n2,b\n", [(1, "1", "a"), (2, "2", "b")]),
        (
            "notes.csv",
            {"comment": "#"},
            b"# made by till 4\nid,note\n1,a\n#2,b\n3,c#\n",
            [(3, "1", "a"), (5, "3", "c#")],
        ),
        ("excel.csv", {}, b"sep=;\r\nid;note\r\n1;a,b\r\n", [(3, "1", "a,b")]),
        ("excel_tab.csv", {"delimiter": ";"}, b'"sep=\t"\nid\tnote\n1\ta\n', [(3, "1", "a")]),
    ],
)
def test_a_declared_format_is_read(project: Project, load: Load, name, settings, content, rows):
    declare(project, **settings)
    project.write(f"{ORDERS}/{name}", content)
    code, out, err = load()
    assert (code, err) == (0, ""), out
    assert project.rows() == rows
    assert project.rejected() == []
    assert " 1 known, 0 failed" in load()[1]


CHARACTERS = {
    "utf-8": st.characters(codec="utf-8", exclude_characters="\0\r\n\x01\ufeff"),
    "windows-1252": st.sampled_from("abc äß€“,;|\t\"'#$. \xa0"),
    "shift_jis": st.sampled_from("ab表示ソ能ア,;|\"'"),
    "utf-16": st.characters(codec="utf-16", exclude_characters="\0\r\n\x01\ufeff"),
}


@st.composite
def files(draw: st.DrawFn) -> tuple[dict[str, Any], list[list[str]], bytes]:
    """Return settings, rows, and the file as Python writes it in that format."""
    encoding = draw(st.sampled_from([*CHARACTERS]))
    delimiter, quote = draw(st.sampled_from(",;|\t")), draw(st.sampled_from("\"'"))
    values = st.text(CHARACTERS[encoding], max_size=6)
    rows = draw(st.lists(st.lists(values, min_size=2, max_size=2), min_size=1, max_size=8))
    has_header, skipped = draw(st.booleans()), draw(st.integers(0, 2))
    settings = {"delimiter": delimiter, "quote": quote, "encoding": encoding, "skip_lines": skipped}
    text = io.StringIO(newline="")
    text.write("about this file\n" * skipped)
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    writer = csv.writer(text, delimiter=delimiter, quotechar=quote, quoting=quoting, lineterminator=end)
    if has_header:
        writer.writerow(COLUMNS)
    else:
        settings["header"] = COLUMNS
    writer.writerows(rows)
    return settings, rows, text.getvalue().encode(encoding)


@given(files(), st.booleans())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_what_python_writes_in_a_format_is_read_back(tmp_path: Path, file, is_fast):
    """Both ways: line by line, and the blocks that COPY reads; what is written for COPY has the same values."""
    settings, rows, content = file
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    entity = declared.Entity("feed", "t", "feed__t", tuple(COLUMNS), Path(), {"format": settings})
    landing_file = LandingFile(tmp_path, path.name, entity)
    with streams.opened(landing_file) as (_, stream):
        header = csv_records.read_header(landing_file, stream)
        assert header.names == COLUMNS
        reader = csv_records.CsvReader(stream, header.names, header.lines + 1, header.dialect)
        found = []
        for part in reader.parts() if is_fast else iter(reader.record, None):
            if isinstance(part, PlainLines):
                text = part.text.replace(b"\r\n", b"\n")
                found += read_by_copy(numbered(text, part.number, header.dialect), header.dialect)
            else:
                assert part.problem is None or part.problem.reason in ("repeated_header", "space_before_quote"), part
                fields = part.fields
                found += read_by_copy(written(part.number, fields, header.dialect), header.dialect)
    first = settings["skip_lines"] + ("header" not in settings) + 1
    assert found == [(number, *row) for number, row in enumerate(rows, first)]


def read_by_copy(text: bytes, dialect: csv_records.Dialect) -> list[tuple]:
    """Return the rows that COPY reads of text whose first field is a number, as Python reads CSV."""
    delimiter, quote = dialect.delimiter.decode(), dialect.quote.decode()
    lines = csv.reader(io.StringIO(text.decode(), newline=""), delimiter=delimiter, quotechar=quote, strict=True)
    return [(int(number), *values) for number, *values in lines]


def test_a_byte_of_no_character_costs_its_line(project: Project, load: Load):
    declare(project, encoding="windows-1252")
    project.write(f"{ORDERS}/1.csv", b"id,note\n1,Caf\xe9\n2,\x81\n3,b\n")
    assert load()[0] == 0
    assert project.rows() == [(2, "1", "Café"), (4, "3", "b")]
    ((line, _, reason, explanation),) = project.rejected()
    assert (line, reason) == (3, "not_utf8")
    assert explanation == "byte 3 of the line, 0x81, is not windows-1252"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"delimiter": ";;"}, "`format` has `delimiter: ;;`: it takes one ASCII character, such as ';'"),
        ({"delimiter": "¦"}, "`delimiter: ¦`: it takes one ASCII character"),
        ({"encoding": "klingon"}, "`encoding: klingon`: it takes the name of an encoding, such as windows-1252"),
        ({"encoding": "base64"}, "`encoding: base64`: it takes the name of an encoding"),
        ({"delimiter": "'", "quote": "'"}, "`format`: delimiter, quote, comment have to differ"),
        ({"delimiter": '"'}, "`format`: delimiter, quote, comment have to differ"),
        ({"skip_lines": -1}, "`skip_lines: -1`: it takes a whole number"),
        ({"header": "id,note"}, "`header: id,note`: it takes a list of the names that the file lacks"),
        ({"seperator": ";"}, "`format` has seperator, which doesn't exist: choose from delimiter, quote,"),
    ],
)
def test_a_wrong_declaration_is_named(project: Project, load: Load, settings, said):
    declare(project, **settings)
    project.write(f"{ORDERS}/1.csv", b"id,note\n1,a\n")
    code, _, err = load()
    assert code == 1
    assert said in err
    assert "sources.yml: table orders" in err


def test_an_undeclared_delimiter_is_named_with_the_way_out(project: Project, load: Load):
    declare(project)
    project.write(f"{ORDERS}/1.csv", b"id;note\n1;a\n")
    code, _, err = load()
    assert code == 1
    assert "line 1: not a valid header: found semicolons, expected commas: declare `format: {delimiter: ';'}`" in err


def test_what_is_wrong_with_a_header_is_said_with_its_line(project: Project, load: Load):
    declare(project, skip_lines=2, comment="#")
    project.write(f"{ORDERS}/1.csv", b"Sales\n\n# a till\nid\n1\n")
    project.write(f"{ORDERS}/2.csv", "sep=é\nid,note\n1,a\n".encode("latin-1"))  # é separates nothing
    code, _, err = load()
    assert code == 1
    assert "1.csv, line 4: no column note (found id)" in err
    assert "2.csv, line 3: no column id, note (found 1, a)" in err
    assert "Traceback" not in err


def test_markers_of_nothing_are_a_list(project: Project, load: Load):
    path = project.root / "dbt/models/sources.yml"
    declare(project)
    path.write_text(path.read_text().replace('"meta": {"format"', '"meta": {"nulls": "NaN", "format"'))
    code, _, err = load()
    assert code == 1
    assert "table orders: `nulls: NaN`: it takes a list of texts" in err


def test_a_package_whose_parent_is_missing_is_missing():
    assert is_installed("pyarrow.parquet")
    assert not is_installed("nowhere.zstd")


def test_compressed_files_are_unpacked(project: Project, load: Load):
    declare(project)
    project.write(f"{ORDERS}/1.csv.zst", b"")
    (project.data / f"{ORDERS}/1.csv.zst").write_bytes(zstd.compress(b"id,note\n1,a\n"))
    with zipfile.ZipFile(project.data / f"{ORDERS}/2.csv.zip", "w") as archive:
        archive.writestr("orders.csv", b"id,note\n2,b\n")
    assert load()[0] == 0
    assert project.rows() == [(2, "1", "a"), (2, "2", "b")]
    assert " 2 known, 0 failed" in load()[1]


def test_damaged_archives_are_refused_whole(project: Project, load: Load):
    declare(project)
    rows = b"id,note\n" + b"".join(b"%d,%d\n" % (number, number**3) for number in range(100_000))
    packed = zstd.compress(rows)
    for name, content in (("1.csv.zst", packed[:-9]), ("2.csv.zst", b"no zst"), ("3.csv.zip", b"no zip")):
        project.write(f"{ORDERS}/{name}", content)
    with zipfile.ZipFile(project.data / f"{ORDERS}/4.csv.zip", "w") as archive:
        archive.writestr("a.csv", b"id,note\n1,a\n")
        archive.writestr("b.csv", b"id,note\n1,a\n")
    with zipfile.ZipFile(project.data / f"{ORDERS}/5.csv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", rows)
    path = project.data / f"{ORDERS}/5.csv.zip"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    code, _, err = load()
    assert code == 1
    assert project.rows() == []
    assert "Traceback" not in err
    errors = err.splitlines()
    assert len(errors) == 5
    for error, said in zip(
        errors, ("ended before", "damaged", "damaged", "2 files: a.csv, b.csv: deliver", ""), strict=True
    ):
        assert error.startswith("error: incremental/shop/orders/")
        assert said in error


def test_parquet_is_read_as_it_is_stored(project: Project, load: Load):
    declare(project)
    moment = datetime.datetime.fromisoformat("2026-02-03T04:05:06.789012")
    table = pyarrow.table(
        {
            "id": ["1", "", None],
            "note": pyarrow.array(["a,b", 'say "no"\n', "😀"]).dictionary_encode(),
            "price": pyarrow.array(
                [Decimal("12345678901234567890.123456789012345678"), None, Decimal(0)], pyarrow.decimal128(38, 18)
            ),
            "share": [0.1, 1e-7, 2.0],
            "at": pyarrow.array([moment, None, moment], pyarrow.timestamp("us", "Europe/Berlin")),
            "local": pyarrow.array([moment, None, moment], pyarrow.timestamp("ns")),
            "day": [moment.date(), None, datetime.date(1, 1, 1)],
            "flag": [True, False, None],
            "parts": [[1, 2], None, []],
        }
    )
    file = project.data / ORDERS / "1.parquet"
    file.parent.mkdir(parents=True)
    pyarrow.parquet.write_table(table, file)
    code, _, err = load()
    assert (code, err) == (0, "")
    columns = "id, note, price, share, at, local, day, flag, parts"
    assert project.rows(columns) == [
        (
            1,
            "1",
            "a,b",
            "12345678901234567890.123456789012345678",
            "0.1",
            "2026-02-03 04:05:06.789012Z",
            "2026-02-03 04:05:06.789012000",
            "2026-02-03",
            "true",
            "[1, 2]",
        ),
        (2, "", 'say "no"\n', None, "1e-7", None, None, None, "false", None),
        (
            3,
            None,
            "😀",
            "0.000000000000000000",
            "2",
            "2026-02-03 04:05:06.789012Z",
            "2026-02-03 04:05:06.789012000",
            "0001-01-01",
            None,
            "[]",
        ),
    ]
    assert " 1 known, 0 failed" in load()[1]


def test_a_sheet_of_excel_is_read_as_it_is_stored(project: Project, load: Load):
    declare(project, sheet="Orders", skip_lines=1)
    book = openpyxl.Workbook()
    sheet = book.create_sheet("Orders")
    for row in (
        ["Orders of February"],
        ["ID", "Note", "Amount", "Day", "At"],
        [1, "a,b", 12.5, datetime.date(2026, 2, 3), datetime.datetime.fromisoformat("2026-02-03T04:05:06")],
        [],
        ["007", True, 1e21, None, "#N/A"],
        [3, None, None, None, None, "beside the table"],
    ):
        sheet.append(row)
    file = project.data / ORDERS / "1.xlsx"
    file.parent.mkdir(parents=True)
    book.save(file)
    code, out, err = load()
    assert (code, err) == (0, "")
    assert "1 blank line" in out
    assert project.rows("id, note, amount, day, at") == [
        (3, "1", "a,b", "12.5", "2026-02-03", "2026-02-03T04:05:06"),
        (5, "007", "true", "1e+21", None, "#N/A"),
    ]
    ((line, text, reason, explanation),) = project.rejected()
    assert (line, reason, explanation) == (6, "ragged", "the line has 6 fields, the header has 5")
    assert "beside the table" in text


def damage_sheet(path: Path) -> None:
    """Cut off the XML of a sheet, within a sound archive."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content[:-60] if "worksheets/sheet" in name else content)


def test_tables_that_can_not_be_read_are_named(project: Project, load: Load):
    declare(project)
    book = openpyxl.Workbook()
    book.create_sheet("Other")
    (project.data / ORDERS).mkdir(parents=True)
    book.save(project.data / ORDERS / "1.xlsx")
    for name in ("2.xlsx", "3.parquet"):
        project.write(f"{ORDERS}/{name}", b"none of these")
    book.remove(book["Other"])
    book["Sheet"].append(["id", "note"])
    book["Sheet"].append([1, "a"])
    book.save(project.data / ORDERS / "4.xlsx")
    damage_sheet(project.data / ORDERS / "4.xlsx")
    code, _, err = load()
    assert code == 1
    assert "1.xlsx: several sheets (Sheet, Other): declare one in sources.yml, format: {sheet: Sheet}" in err
    assert "2.xlsx: can't be read as Excel: " in err
    assert "4.xlsx: can't be read as Excel: " in err
    assert "3.parquet: can't be read as Parquet: " in err
    assert "Traceback" not in err


def test_each_setting_is_checked():
    good = {"delimiter": ";", "quote": "none", "encoding": "cp1252", "skip_lines": 1, "comment": "#", "header": ["a"]}
    assert declared.FORMAT_SETTINGS.keys() >= good.keys()
    assert all(declared.is_format(setting, value) for setting, value in good.items())
    bad = {"delimiter": "\n", "quote": "", "encoding": 5, "skip_lines": True, "comment": 1, "header": [], "sheet": 1}
    assert not any(declared.is_format(setting, value) for setting, value in bad.items())


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ['"', "'", "none"])
def test_clean_lines_of_any_dialect_go_to_copy_as_they_are(tmp_path: Path, delimiter: str, quote: str) -> None:
    mark = "" if quote == "none" else quote
    rows = b"".join(f"{number}{delimiter}{mark}1.044,90{mark}\n".encode() for number in range(10_000))
    if delimiter == "," and not mark:
        rows = rows.replace(b"1.044,90", b"1044")
    settings = {"delimiter": delimiter, "quote": quote, "header": COLUMNS}
    entity = declared.Entity("feed", "t", "feed__t", tuple(COLUMNS), Path(), {"format": settings})
    (tmp_path / "t.csv").write_bytes(rows)
    with streams.opened(file := LandingFile(tmp_path, "t.csv", entity)) as (_, stream):
        header = csv_records.read_header(file, stream)
        parts = [*csv_records.CsvReader(stream, header.names, 1, header.dialect).parts()]
    assert all(isinstance(part, PlainLines) for part in parts)
    assert b"".join(part.text for part in parts) == rows
