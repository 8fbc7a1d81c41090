"""Forget a person: nothing of them is left in the database and in the files, and nothing else changes.

What is left is looked for by the tests' own means.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
import json
import re
import sys
import zipfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow
import pyarrow.parquet
import pytest
from backports import zstd
from psycopg2 import sql

from conftest import DBT, MODELS_ONLY, ROOT, Database, copy_of_project, needs_sample, scratch_directory
from copies import FULL, apart, differences
from granary import declared, forget
from granary.loader import forgotten
from granary.privacy import person
from granary.privacy.person import OUTER, Finder, new_value
from granary.project import GranaryError
from test_loader import Project, load, project

__all__ = ["load", "project"]  # fixtures

PSEUDONYM = re.compile(r"forgotten[a-z0-9]{16}(@forgotten[.]invalid)?", re.IGNORECASE)
Run = Callable[..., tuple[int, str, str]]


# -- The sample --------------------------------------------------------------------------------------------------------


def in_words(*values: str) -> str:
    """Return a regular expression for any of some values, as a word."""
    return rf"(^|[^a-z0-9_])({'|'.join(map(re.escape, values))})([^a-z0-9_]|$)"


def tables_of(database: Database) -> list[tuple[str, str]]:
    return database.query(
        "select table_schema, table_name from information_schema.tables where table_type = 'BASE TABLE'"
        " and table_schema <> 'information_schema' and table_schema !~ '^pg_' order by 1, 2"
    )


def found_in(database: Database, data: Path, *values: str) -> list[tuple]:
    """Return where values are: each table that has them in a row or in its statistics, and each file."""
    pattern, found = in_words(*values), []
    for name in tables_of(database):
        query = sql.SQL("select count(*) from {} as t where lower(t::text) ~ %s").format(sql.Identifier(*name))
        if count := database.query(query, [pattern])[0][0]:
            found.append((*name, count))
    found += database.query("select tablename, attname from pg_stats where lower(pg_stats::text) ~ %s", [pattern])
    for file in filter(Path.is_file, data.rglob("*")):
        content = file.read_bytes()
        content = gzip.decompress(content) if file.suffix == ".gz" else content
        if re.search(pattern, content.decode("latin-1").lower()):
            found.append((file.name,))
    return found


def sums(database: Database) -> dict[tuple, Any]:
    """Return the rows of each mart, and the sum of each of its columns of numbers."""
    columns = database.query(
        "select table_name, column_name from information_schema.columns where table_schema = 'marts'"
        " and data_type = 'numeric' order by 1, 2"
    )
    found = {}
    for table, column in columns:
        query = sql.SQL("select count(*), sum({}) from marts.{}").format(sql.Identifier(column), sql.Identifier(table))
        found[table, column] = database.query(query)[0]
    assert any(isinstance(total, Decimal) and total for _, total in found.values())
    return found


def contents(database: Database) -> dict[tuple, Any]:
    """Return a hash of the rows of each table."""
    query = "select md5(string_agg(t::text, '' order by t::text)) from {} as t"
    return {name: database.query(sql.SQL(query).format(sql.Identifier(*name))) for name in tables_of(database)}


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def raw_rows(database: Database) -> dict[tuple, list[tuple]]:
    """Return what is loaded: landing tables and rejected lines, row by row."""
    return {
        name: database.query(sql.SQL("select * from {} order by 1, 2").format(sql.Identifier(*name)))
        for name in tables_of(database)
        if name[0] == "raw" and (not name[1].startswith("_") or name[1] == "_rejected_lines")
    }


@pytest.fixture(scope="module")
def tree() -> Iterator[Path]:
    """Give a copy of the project, with its data."""
    with scratch_directory() as directory:
        yield copy_of_project(directory / "a copy")


@needs_sample
@pytest.mark.feeds("kulisse")
def test_nothing_of_a_person_of_the_sample_is_left_and_nothing_else_changes(
    sample: Database, new_database: Callable[..., Database], tree: Path
) -> None:
    """The person has an address that other feeds have in another case, and the name of somebody else."""
    database, data = new_database(sample), tree / "data"
    values, command = ("k_001", "mara.lind@example.org"), ("bin/forget", "kulisse", "customer_id=K_001")
    before, files, tables = sums(database), hashes(data), contents(database)
    money = database.query("select * from marts.money_reconciliation order by 1, 2, 3, 4")
    names = found_in(database, data, "mara lind")
    assert len(found_in(database, data, *values)) > 20

    for arguments, words in (
        (
            command[1:],
            [*values, "Mara Lind", "shop.customers has the name Mara Lind; to forget if it is the same person"],
        ),
        (
            ["tickets", "account_id=a_0001"],
            ["c_0001", "c_0002", "c_0030", "customer_id=c_0018: also in rows of 2 other account_id"],
        ),
    ):
        done = database.run("bin/forget", *arguments, "--dry-run", root=tree)
        assert done.returncode == 0, done.stderr
        assert [text for text in words if text.lower() not in done.stdout.lower()] == []
    assert (hashes(data), {name: contents(database).get(name) for name in tables}) == (files, tables)

    done = database.run(*command, root=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert found_in(database, data, *values) == []
    left = found_in(database, data, "mara lind")
    gone = {place[:2] for place in names} - {place[:2] for place in left}
    assert gone >= {("raw", "kulisse__customers"), ("marts", "dim_customer_unified")}
    assert ("raw", "shop__customers", 1) in left
    assert sums(database) == before
    assert database.query("select * from marts.money_reconciliation order by 1, 2, 3, 4") == money
    (certificate,) = (tree / "output" / "forgotten").iterdir()
    said = json.loads(certificate.read_text())
    assert not re.search(in_words(*values), certificate.read_text().lower())
    assert not PSEUDONYM.search(certificate.read_text())
    assert (said["left"], said["feed"], said["in_own_rows_only"]) == ({}, "kulisse", 1)
    changed = {name for name, digest in hashes(data).items() if files[name] != digest}
    assert {each["path"]: (each["sha256_before"], each["sha256_after"]) for each in said["files"]} == {
        name: (files[name], hashes(data)[name]) for name in changed
    }

    done = database.run("bin/ingest", root=tree)
    assert "76 files: 0 loaded (0 rows, 0 lines rejected), 76 known, 0 failed" in done.stdout
    again = new_database(name="loaded_again")
    assert again.run("bin/ingest", root=tree).returncode == 0
    assert raw_rows(again) == raw_rows(database)

    environment = apart(database.environment["DBT_TARGET_PATH"], FULL)
    done = database.run(*DBT, "build", *MODELS_ONLY, root=tree, env=environment)
    assert done.returncode == 0, done.stdout
    assert differences(database) == []


def test_a_declared_person_does_not_change_the_rules_of_a_source() -> None:
    from granary.affected import rules_of

    column = {"name": "a", "meta": {"parse": "text"}, "config": {"meta": {"parse": "text"}, "enabled": True}}
    told = {"name": "a", **{key: {**column[key]} for key in ("meta", "config")}}
    told["meta"] = told["meta"] | {"personal": "id"}
    told["config"] = told["config"] | {"meta": told["meta"]}
    assert rules_of({"columns": {"a": column}}) == rules_of({"columns": {"a": told}})


# -- Files of each kind ------------------------------------------------------------------------------------------------

PEOPLE = "initial/club/people"
ROWS = [
    ("person", "email", "full_name", "note", "paid"),
    ("p_0031", "Ann.Lee@example.org", "Ann Ó Lee", "p_0031 called", "17"),
    (" P_0031 ", "ann.lee@example.org", "Ann Ó Lee", "wrote, as p_00311 did", "3"),
    ("p_003", "x.ann.lee@example.org", "Ann Ó Lee", "not p_0031-b", "17"),
    ("17", "bo@example.org", "Bo", 'asked for "ann.lee@example.org"', "17"),
]
KINDS = (
    "csv",
    "semicolons",
    "sheet",
    "western",
    "wide",
    "marked",
    "gz",
    "zst",
    "zip",
    "json",
    "jsonl",
    "parquet",
    "xlsx",
)


def declare(project: Project, **settings: Any) -> None:
    """Declare the people of a club."""
    kinds = {"person": "id", "email": "email", "full_name": "name"}
    columns = [
        {"name": name, "config": {"meta": {"personal": kinds[name]} if name in kinds else {}}} for name in ROWS[0]
    ]
    tables = [
        {"name": name, "identifier": f"club__{name}", "config": {"meta": settings}, "columns": each}
        for name, each in (("people", columns), ("visits", [columns[0], {"name": "seen"}]))
    ]
    source = {"name": "club", "loader": "bin/ingest", "tables": tables}
    (project.root / "dbt/models/sources.yml").write_text(json.dumps({"sources": [source]}))


def csv_text(delimiter: str = ",", end: str = "\n", rows: list[tuple] = ROWS) -> str:
    """Return the rows as CSV, in which only what must have quotes has some."""
    lines = [
        [f'"{text.replace(chr(34), chr(34) * 2)}"' if {*text} & {delimiter, '"'} else text for text in row]
        for row in rows
    ]
    return "".join(delimiter.join(line) + end for line in lines)


def objects() -> list[dict[str, str]]:
    return [dict(zip(ROWS[0], row, strict=True)) for row in ROWS[1:]]


def made(kind: str) -> tuple[str, dict[str, Any], bytes]:
    """Return the ending of a file of a kind, how it is declared, and its content."""
    buffer = io.BytesIO()
    if kind == "parquet":
        columns = {name: [row[place] for row in ROWS[1:]] for place, name in enumerate(ROWS[0])}
        pyarrow.parquet.write_table(pyarrow.table(columns), buffer)
    elif kind == "xlsx":
        book = openpyxl.Workbook()
        for row in ROWS:
            book.active.append(row)
        book.save(buffer)
    elif kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("people.csv", csv_text())
    lines = "".join(json.dumps(each) + "\n" for each in objects())
    array = json.dumps({"data": {"items": objects()}, "about": "p_0031"}, indent=1, ensure_ascii=False)
    return {
        "csv": (".csv", {}, csv_text(end="\r\n").encode()),
        "semicolons": (".csv", {"format": {"delimiter": ";", "skip_lines": 1}}, b"Club\n" + csv_text(";").encode()),
        "sheet": (".csv", {}, b"sep=;\r\n" + csv_text(";", "\r\n").encode()),
        "western": (".csv", {"format": {"encoding": "windows-1252"}}, csv_text().encode("cp1252") + b'p_9,,"\x81",,\n'),
        "wide": (".csv", {}, csv_text().encode("utf-16")),
        "marked": (".csv", {}, csv_text().encode("utf-8-sig") + b"p_0031,too,few\n"),
        "gz": (".csv.gz", {}, gzip.compress(csv_text().encode())),
        "zst": (".csv.zst", {}, zstd.compress(csv_text().encode())),
        "zip": (".csv.zip", {}, buffer.getvalue()),
        "json": (".json", {"records": "data.items"}, array.encode()),
        "jsonl": (".jsonl", {}, lines.encode()),
        "parquet": (".parquet", {}, buffer.getvalue()),
        "xlsx": (".xlsx", {}, buffer.getvalue()),
    }[kind]


def text_of(kind: str, path: Path) -> str:
    """Return what a file holds, as text."""
    content = path.read_bytes()
    if kind == "parquet":
        return json.dumps(pyarrow.parquet.read_table(path).to_pylist(), ensure_ascii=False)
    if kind == "xlsx":
        rows = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
        return json.dumps([*rows], ensure_ascii=False)
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            return archive.read("people.csv").decode()
    unpacked = {"gz": gzip.decompress, "zst": zstd.decompress}.get(kind, bytes)(content)
    return unpacked.decode({"western": "cp1252", "wide": "utf-16"}.get(kind, "utf-8"), "surrogateescape")


@pytest.fixture
def run(project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Give a function that runs bin/forget, and returns its exit code, output and errors."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bin/forget", *arguments])
        try:
            code = forget.main()
        except GranaryError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
        return code, *capsys.readouterr()

    monkeypatch.setenv("GRANARY_DATA", str(project.data))
    return call


def loaded(project: Project) -> list[tuple]:
    """Return the rows with their lines, and the rejected lines."""
    return [*project.rows(", ".join(ROWS[0]), "club__people"), *project.rejected()]


def files_with(project: Project, value: str) -> list[Path]:
    """Return the CSV files that load and have a value."""
    files = (project.data / "initial/club").glob("[!.]*.csv")
    return [path for path in files if re.search(rf"(?<![\w-]){value}(?![\w-])", path.read_text().lower())]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_file_changes_in_the_values_only(project: Project, load: Run, run: Run, kind: str) -> None:
    """The name is that of somebody else, too, so it changes in the person's rows only."""
    ending, settings, content = made(kind)
    declare(project, **settings)
    path = project.write(f"{PEOPLE}.gone", b"")
    path.unlink()
    path = path.with_name(f"people{ending}")
    path.write_bytes(content)
    assert load()[0] == 0
    before, rows = text_of(kind, path), loaded(project)
    assert len(project.rows("person", "club__people")) >= 4

    code, out, err = run("club", "person=p_0031")
    assert (code, err) == (0, ""), out
    after = text_of(kind, path)
    ours = r"(?<![\w-])(?<!x\.)(p_0031|ann\.lee@example\.org)(?![\w-])"
    names = 0

    def masked(match: re.Match[str]) -> str:
        nonlocal names
        names += 1
        return "?" if names <= 2 else match[0]

    name = json.dumps("Ann Ó Lee")[1:-1] if kind == "jsonl" else "Ann Ó Lee"
    expected = re.sub(ours, "?", re.sub(re.escape(name), masked, before), flags=re.IGNORECASE)
    assert PSEUDONYM.sub("?", after) == expected
    assert PSEUDONYM.search(after)
    assert len({found[0] for found in PSEUDONYM.finditer(after)}) == 2 + 2 + 1, "two spellings of two values differ"
    assert len({found[0].lower() for found in PSEUDONYM.finditer(after)}) == 3

    code, out, err = load()
    assert (code, out, err) == (0, "1 file: 0 loaded (0 rows, 0 lines rejected), 1 known, 0 failed\n", "")
    replaced = loaded(project)
    assert [row[0] for row in replaced] == [row[0] for row in rows]
    project.query(
        "truncate raw._batches, raw._files, raw._rejected_lines, raw._forgotten_files, raw.club__people cascade"
    )
    project.query("select setval('raw._row_ids', 1, false)")
    assert load()[0] == 0
    assert loaded(project) == replaced, "the file says what the table does"


def test_the_bytes_of_before_are_never_loaded_again(project: Project, load: Run, run: Run) -> None:
    declare(project)
    old = csv_text().encode()
    path = project.write(f"{PEOPLE}.csv", old)
    assert load()[0] == 0
    assert run("club", "person=p_0031")[0] == 0
    project.write("incremental/club/people/again.csv", old)
    code, _, err = load()
    assert code == 1
    assert "incremental/club/people/again.csv: these bytes hold a person who was forgotten on" in err
    (project.data / "incremental/club/people/again.csv").unlink()
    path.write_bytes(old)
    assert "these bytes hold a person who was forgotten" in load("--replace", "club")[2]
    assert project.query("select count(*) from raw.club__people") == [(4,)]


def test_a_file_that_is_known_under_two_names_stays_known(
    project: Project, load: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(project)
    path = project.write(f"{PEOPLE}.csv.gz", csv_text().encode())
    again = project.data / "incremental/club/people/again.csv.gz"
    again.parent.mkdir(parents=True)
    again.write_bytes(path.read_bytes())
    assert "1 loaded" in load()[1]
    with monkeypatch.context() as patch:
        patch.setattr("time.time", itertools.count(10**9, 10).__next__)  # which gzip might write into the files
        assert run("club", "person=p_0031")[0] == 0
    assert again.read_bytes() == path.read_bytes()
    assert "2 files: 0 loaded (0 rows, 0 lines rejected), 2 known, 0 failed" in load()[1]


@pytest.mark.parametrize("first", ["ingest", "forget"])
@pytest.mark.parametrize("after", [0, 1])
def test_who_comes_next_finishes_what_was_killed_between_the_ledger_and_the_files(
    project: Project, load: Run, run: Run, monkeypatch: pytest.MonkeyPatch, first: str, after: int
) -> None:
    declare(project)
    for name in ("people", "visits"):
        rows = ROWS if name == "people" else [("person", "seen"), ("p_0031", "1")]
        project.write(f"initial/club/{name}.csv", csv_text(rows=rows).encode())
    assert load()[0] == 0
    replace, calls = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal calls
        calls += path.name.startswith(forgotten.PREFIX)
        if calls > after:
            raise KeyboardInterrupt
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        run("club", "person=p_0031")
    monkeypatch.setattr(Path, "replace", replace)
    assert project.query("select count(*) from raw.club__people where lower(person) like '%p_0031%'") == [(0,)]
    assert len(files_with(project, "p_0031")) == 2 - after
    if first == "ingest":
        code, out, err = load()
        assert (code, err) == (0, "")
        assert "2 files: 0 loaded (0 rows, 0 lines rejected), 2 known, 0 failed" in out
    code, out, err = run("club", "person=p_0031")
    assert (code, err) == (0, "")
    assert "finishing number 1, which was interrupted" in out
    assert not [path for path in project.data.rglob("*") if path.name.startswith(".")]
    assert files_with(project, "p_0031") == []
    assert load()[1] == "2 files: 0 loaded (0 rows, 0 lines rejected), 2 known, 0 failed\n"
    assert project.query("select count(*) from raw._forgotten where finished_at is null") == [(0,)]
    assert project.query("select what ->> 'searched_for', what ->> 'left' from raw._forgotten") == [("1", "{}")]


def test_somebody_else_is_forgotten_after_what_was_interrupted(
    project: Project, load: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    declare(project)
    project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(forget, "clean_up", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        run("club", "person=p_0031")
    code, out, err = run("club", "email=bo@example.org")
    assert (code, err) == (0, "")
    assert "finishing number 1, which was interrupted" in out
    columns = "forgotten_id, what ->> 'searched_for', what ->> 'left', finished_at is not null"
    assert project.query(f"select {columns} from raw._forgotten order by 1") == [
        (1, "0", "{}", True),
        (2, "1", "{}", True),
    ]
    assert len(list((project.root / "output/forgotten").iterdir())) == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("initial/club/visits.csv.gz", b"", "visits.csv.gz: can't be read"),
        ("notes.pdf", b"p_0031", "notes.pdf: Granary can't rewrite files of this kind"),
        ("p_0031.txt", b"", "the name of this file has a value of the person"),
        ("incremental/club/visits/1.xlsx", b"=", "Sheet!B3 is a formula, whose result would be lost"),
        (f"{PEOPLE}.csv", csv_text(rows=ROWS[:2]).encode(), "its bytes are not those that were loaded"),
    ],
)
def test_what_can_not_be_rewritten_is_said_before_anything_changes(
    project: Project, load: Run, run: Run, name: str, content: bytes, words: str
) -> None:
    declare(project)
    project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    path = project.data / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content or (gzip.compress(b"person,seen\n")[:-3] if name.endswith(".gz") else b""))
    if name.endswith(".xlsx"):
        book = openpyxl.Workbook()
        for row in (("person", "seen"), ("p_0031", "1"), ("p_9", "=1+1")):
            book.active.append(row)
        book.save(path)
    before, rows = hashes(project.data), contents(project.database)
    code, _, err = run("club", "person=p_0031")
    assert code == 1
    assert words in err
    assert (hashes(project.data), contents(project.database)) == (before, rows)


def test_a_value_can_be_left_alone_and_a_copy_of_another_kind_is_named(project: Project, load: Run, run: Run) -> None:
    declare(project)
    path = project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    project.query("create schema other create table notes (id int, about jsonb, tags text[])")
    project.query("""insert into other.notes values (1, '{"who": ["p_0031"]}', array['p_0031', 'x'])""")
    project.query("insert into raw.club__people (_batch_id, person) select 1, 'p_0031' from generate_series(1, 9)")
    project.query("analyze")
    (project.root / "output").mkdir()
    (project.root / "output/report.html").write_text("<b>Ann.Lee@example.org</b> p_0031")
    (project.root / "granary.duckdb").write_bytes(b"\0p_0031\0")
    code, _, err = run("club", "person=p_0031", "--keep", "email=ann.lee@example.org")
    assert code == 1
    assert "granary.duckdb (again: delete the file, and run GRANARY_ENGINE=duckdb make)" in err
    assert err.count("error:") == 1
    assert path.read_text().lower().count("ann.lee@example.org") == 4
    assert "Ann.Lee@example.org" in (project.root / "output/report.html").read_text()
    assert "p_0031" not in (project.root / "output/report.html").read_text()
    ((about, tags),) = project.query("select about::text, tags from other.notes")
    assert PSEUDONYM.search(about)
    assert PSEUDONYM.fullmatch(tags[0])
    remembered = "select attname from pg_stats where pg_stats::text ~ %s and schemaname <> 'pg_catalog'"
    assert project.query(remembered, ["p_0031[^-1]"]) == []
    assert tags[1] == "x"


def test_a_number_changes_in_its_column_only_and_stays_one(project: Project, load: Run, run: Run) -> None:
    declare(project)
    path = project.write(f"{PEOPLE}.jsonl", "".join(json.dumps(each) + "\n" for each in objects()).encode())
    path.write_text(path.read_text().replace('"person": "17"', '"person":  17'))
    assert load()[0] == 0
    rows = project.rows("person, full_name, paid", "club__people")
    code, _, err = run("club", "person=17")
    assert (code, err) == (0, "")
    changed = project.rows("person, full_name, paid", "club__people")
    assert changed[:3] == rows[:3]
    assert re.fullmatch("9[0-9]{14}", changed[3][1])
    assert PSEUDONYM.fullmatch(changed[3][2])
    assert changed[3][3] == "17"
    assert json.loads(path.read_text().splitlines()[3])["person"] == int(changed[3][1])
    assert '"paid": "17"' in path.read_text().splitlines()[3]


def test_a_list_that_people_maintain_is_rewritten_only_if_asked(project: Project, load: Run, run: Run) -> None:
    declare(project)
    project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    seed = project.root / "dbt/seeds/club/members.csv"
    seed.parent.mkdir(parents=True)
    seed.write_text("person,why\np_0031,founder\np_003,\n")
    code, _, err = run("club", "person=p_0031")
    assert code == 1
    assert "dbt/seeds/club/members.csv: this list names the person: add --seeds" in err
    assert project.query("select count(*) from raw.club__people where person = 'p_0031'") == [(1,)]
    assert run("club", "person=p_0031", "--seeds")[0] == 0
    ((new,),) = project.query("select person from raw.club__people order by _row_id limit 1")
    assert seed.read_text() == f"person,why\n{new},founder\np_003,\n"


def test_pseudonyms_that_a_source_refuses_change_nothing(project: Project, load: Run, run: Run) -> None:
    declare(project)
    project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    project.query("create schema staging")
    project.query(
        "create view staging.stg_club__people as"
        " select case when length(person) < 12 then person end as person, email from raw.club__people"
    )
    before, rows = hashes(project.data), contents(project.database)
    code, _, err = run("club", "person=p_0031")
    assert code == 1
    assert "club.people: pseudonyms aren't read as the values were, in person" in err
    assert (hashes(project.data), contents(project.database)) == (before, rows)


def test_no_incremental_build_follows_a_run_that_was_killed_before_its_own(
    project: Project, load: Run, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build compares these fingerprints with those of today, and stops: see the macro refuse_changed_rules."""
    declare(project)
    project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    rules = "create table _rules (model text, landing_table text, fingerprint text)"
    for prefix in ("", "dev_"):
        project.query(f"create schema {prefix}intermediate {rules}")
        project.query(f"insert into {prefix}intermediate._rules values ('m', 'club.people', 'f'), ('m', 'a.b', 'f')")

    def killed(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(forget, "build", killed)
    with pytest.raises(KeyboardInterrupt):
        run("club", "person=p_0031")
    for prefix in ("", "dev_"):
        recorded = project.query(f"select landing_table, fingerprint from {prefix}intermediate._rules order by 1")
        assert recorded == [("a.b", "f"), ("club.people", "forgotten f")]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "person=p"], "there is no feed nobody: feeds with personal columns are club"),
        (["club", "paid=17"], "club has no personal column paid: choose from email, full_name, person"),
        (["club", "person=p_0099"], "no row of club has person=p_0099: nothing is to be forgotten"),
        (["club", "person="], "person= has no value"),
    ],
)
def test_what_names_nobody_is_refused(project: Project, load: Run, run: Run, arguments: list[str], words: str) -> None:
    declare(project)
    project.write(f"{PEOPLE}.csv", csv_text().encode())
    assert load()[0] == 0
    code, _, err = run(*arguments)
    assert code == 1
    assert words in err


# -- Words -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text", "count"),
    [
        ("a_003", "a_0031", 0),
        ("a_0031", "A_0031,xa_0031,a_0031x,-a_0031,a_0031", 2),
        ("a_0031", r'{"a":"\ta_0031","b":"\u200ba_0031"}', 2),
        ("ann@example.org", "x.ann@example.org ann@example.org.uk ann@example.org. mailto:ann%40example.org", 2),
        ("Zoë Łukasik", r'Zoë Łukasik "Zo\u00eb \u0141ukasik" ZOË ŁUKASIK', 3),
        ('Bo "B" Lee', r'"Bo ""B"" Lee" {"a": "Bo \"B\" Lee"} Bo &quot;B&quot; Lee', 3),
        ("😀 Smile", r'"\ud83d\ude00 Smile" 😀 smile', 2),
    ],
)
def test_a_value_is_found_as_a_word_however_it_is_spelled(value: str, text: str, count: int) -> None:
    finder = Finder([new_value("id", "a", value, "")])
    assert finder.found(text) == count
    assert finder.replaced(text)[1] == count
    assert finder.found(finder.replaced(text)[0]) == 0


def test_pseudonyms_are_random_and_of_the_form_of_the_value() -> None:
    assert new_value("id", "a", "a_0031", "").pseudonym != new_value("id", "a", "a_0031", "").pseudonym
    assert person.EMAIL.fullmatch(new_value("email", "a", "a@b.org", "").pseudonym)
    assert new_value("id", "a", "1234567890", "").pseudonym.isdecimal()
    assert "@" not in new_value("email", "a", "ann(at)example.org", "").pseudonym


def test_outer_characters_are_those_that_dbt_trims() -> None:
    text = (ROOT / "dbt/macros/parsing/clean_text.sql").read_text()
    escapes = "".join(re.findall(r"\\u[0-9a-f]{4}", text))
    assert {*escapes.encode().decode("unicode_escape"), *" \t\n\r\f\v"} == {*OUTER}


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"personal": "phone"}, "column person: `personal: phone`: choose from email, name, id, text"),
        (
            {"personal": "id", "parse": "date"},
            "`personal` goes with `parse` text, email, label, integer, not with date",
        ),
    ],
)
def test_a_wrong_declaration_is_named(tmp_path: Path, rules: dict[str, str], words: str) -> None:
    table = {"name": "a", "identifier": "bar__a", "columns": [{"name": "person", "config": {"meta": rules}}]}
    source = {"name": "bar", "loader": "bin/ingest", "tables": [table]}
    (tmp_path / "sources.yml").write_text(json.dumps({"sources": [source]}))
    with pytest.raises(GranaryError, match=re.escape(words)):
        declared.entities(tmp_path)
