"""bin/ingest on a real server: each promise of the loader, with the smallest file that shows it."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg2.extras import NamedTupleCursor

from conftest import Database, wait_until
from granary import declared, feed_data
from granary import project as project_module
from granary.loader import csv_records, ingest, json_records, landing, raw_tables, records, streams
from granary.loader import rows as rows_module
from granary.loader.load import load as load_file
from granary.loader.load import load_rows
from granary.server.connection import connect

pytestmark = pytest.mark.fast

SOURCES = """
sources:
  - name: shop
    loader: bin/ingest
    tables:
      - name: orders
        identifier: shop__orders
        columns: [{name: id, config: {meta: {required: true}}}, {name: note}]
      - name: pages
        identifier: shop__pages
        columns: [{name: page}, {name: referrer, config: {meta: {optional: true}}}]
  - name: o'k "ey; --
    loader: bin/ingest
    tables:
      - name: tab%s le
        identifier: o'k "ey; --__tab%s le
        columns: [{name: id}]
"""
ORDERS = "incremental/shop/orders"


class Project:
    """A copy of the loader with feeds of its own, and a database of its own."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database, self.data, self.query = root, database, root / "data", database.query
        shutil.copytree(project_module.ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "dbt/models").mkdir(parents=True)
        (root / "dbt/models/sources.yml").write_text(SOURCES)
        shutil.copy(project_module.ROOT / "dbt/dbt_project.yml", root / "dbt")
        self.data.mkdir()

    def write(self, path: str, content: bytes) -> Path:
        """Put a landing file there."""
        file = self.data / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(gzip.compress(content) if path.endswith(".gz") else content)
        return file

    def start(self, *arguments: str | Path) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
        """Start the loader as a process of its own."""
        command = (sys.executable, "-m", "granary.loader.ingest", *arguments)
        return self.database.start(*command, env={"PYTHONPATH": str(self.root / "scripts")})

    def rows(self, columns: str = "id, note", table: str = "shop__orders") -> list[tuple]:
        """Return (line, columns) of every row in use, in the order of the row ids."""
        return self.query(
            f"select _row_id - first_row_id + 1, {columns} from raw.{table}"
            " inner join raw._batches on batch_id = _batch_id where status = 'loaded' order by _row_id"
        )

    def rejected(self) -> list[tuple]:
        """Return (line number, line, reason, explanation) of every rejected line."""
        columns = "line_number, line, reason, explanation"
        return self.query(f"select {columns} from raw._rejected_lines order by batch_id, line_number")

    def ledger(self, columns: str = "batch_id, status, rows_read, rows_loaded, rows_rejected") -> list[tuple]:
        """Return the ledger."""
        return self.query(f"select {columns} from raw._batches order by batch_id")


@pytest.fixture
def project(tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Give a project with an empty data folder."""
    made = Project(tmp_path / "pro ject", database)
    monkeypatch.setattr(project_module, "ROOT", made.root)
    return made


@pytest.fixture
def load(
    project: Project, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Give a function that runs bin/ingest with arguments, and returns its exit code, output and errors."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bin/ingest", *map(str, arguments)])
        try:
            code = ingest.main()
        except project_module.GranaryError as error:
            print(f"error: {error}", file=sys.stderr)
            code = 1
        return code, *capsys.readouterr()

    return run


def test_the_id_of_a_batch_is_never_given_again(project: Project, load: Callable[..., tuple[int, str, str]]) -> None:
    project.write(f"{ORDERS}/1.csv", b"id,note\n1,a\n")
    assert load()[0] == 0
    with contextlib.closing(connect(cursor_factory=NamedTupleCursor)) as connection, connection:
        feed_data.drop(connection.cursor(), ["shop"], [])
    assert load()[0] == 0
    assert project.ledger("batch_id, rows_loaded") == [(2, 1)]


# -- Whole or not at all, and once -------------------------------------------------------------------------------------


def test_a_batch_lands_with_its_line_numbers_and_its_ledger_row(project: Project, load):
    content = b"id,note\n1,a\n2,b\n"
    project.write(f"{ORDERS}/b1.csv", content)
    code, out, err = load()
    assert (code, err) == (0, "")
    assert "loaded   shop/orders/b1" in out
    assert "batch 1     2 rows\n1 file: 1 loaded (2 rows, 0 lines rejected), 0 known, 0 failed" in out
    assert project.rows() == [(2, "1", "a"), (3, "2", "b")]
    assert project.ledger("feed, entity, path, sha256, bytes, rows_read, status, error") == [
        ("shop", "orders", f"{ORDERS}/b1.csv", hashlib.sha256(content).hexdigest(), 16, 2, "loaded", None)
    ]


def test_the_same_bytes_again_are_a_no_op_that_names_the_batch(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    load()
    project.write(f"{ORDERS}/b2.csv", b"id,note\n1,a\n")
    code, out, _ = load()
    assert code == 0
    # The file itself is routine, which the total counts; another file with its bytes is worth a line.
    assert out.splitlines() == [
        "known    shop/orders/b2                       batch 1 has these bytes already",
        "2 files: 0 loaded (0 rows, 0 lines rejected), 2 known, 0 failed",
    ]
    assert load("shop/orders/b1")[1].startswith("known    shop/orders/b1                       batch 1 has these bytes")
    assert len(project.rows()) == len(project.ledger()) == 1


def test_the_same_bytes_of_another_entity_are_another_delivery(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note,page\n1,a,p\n")
    project.write("incremental/shop/pages/b1.csv", b"id,note,page\n1,a,p\n")
    assert load()[0] == 0
    assert [status for (status,) in project.ledger("status")] == ["loaded", "loaded"]


def test_other_bytes_under_a_known_path_are_refused_until_they_replace_the_batch(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    load()
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,b\n")
    code, _, err = load()
    assert code == 1
    assert f"error: {ORDERS}/b1.csv: batch 1 was loaded from this path with other bytes" in err
    assert "bin/ingest --replace shop/orders/b1" in err
    assert project.rows() == [(2, "1", "a")]
    code, out, _ = load("--replace")
    assert code == 0
    assert "replaces batch 1" in out
    assert project.rows() == [(2, "1", "b")]
    assert project.ledger("batch_id, status, replaced_by_batch_id") == [
        *((1, "replaced", 3), (2, "failed", None), (3, "loaded", None)),
    ]
    assert project.query("select count(*) from raw.shop__orders") == [(2,)], "replaced rows stay, the models leave them"
    assert "batch 3 has these bytes already" in load("--replace", "shop/orders/b1")[1]
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    assert load("--replace")[0] == 0, "bytes of a replaced batch are no longer known"
    assert project.rows() == [(2, "1", "a")]


def test_replacing_with_the_bytes_of_another_file_loads_them_again(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    project.write(f"{ORDERS}/b2.csv", b"id,note\n2,b\n")
    load()
    project.write(f"{ORDERS}/b1.csv", b"id,note\n2,b\n")
    assert load("--replace")[0] == 0
    assert project.rows() == [(2, "2", "b"), (2, "2", "b")]


def test_a_failed_file_leaves_nothing_but_its_error_and_the_others_load(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id\n1\n")
    project.write(f"{ORDERS}/b2.csv", b"id,note\n1,a\n")
    code, out, err = load()
    assert code == 1
    assert "1 loaded (1 row, 0 lines rejected), 0 known, 1 failed" in out
    assert f"error: {ORDERS}/b1.csv, line 1: no column note (found id): add it to the file, or remove " in err
    assert project.ledger("status, rows_read, error is null") == [("failed", 0, False), ("loaded", 1, True)]
    load()
    assert len(project.ledger()) == 2, "the same failure is written down once"
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,c\n")
    assert load()[0] == 0, "a failed file can be corrected in place"


def test_kill_9_in_the_middle_of_a_load_leaves_nothing(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    load()
    big = project.write(f"{ORDERS}/b2.csv", b"id,note\n" + b"2,b\n" * 3_000_000)
    with project.start() as loader:
        wait_until(lambda: project.query("select 1 from pg_stat_progress_copy where tuples_processed > 1000"))
        loader.kill()
    wait_until(lambda: not project.query("select 1 from pg_stat_progress_copy"))
    assert len(project.rows()) == len(project.ledger()) == 1
    assert project.query("select count(*) from raw.shop__orders") == [(1,)]
    big.write_bytes(b"id,note\n2,b\n")
    assert load()[0] == 0
    assert project.rows() == [(2, "1", "a"), (2, "2", "b")]


def test_two_loaders_at_once_load_the_same_files_once(project: Project):
    for number in range(10):
        project.write(f"{ORDERS}/b{number}.csv", b"id,note\n%d,a\n" % number)
    with project.start() as one, project.start() as other:
        outputs = [loader.communicate(timeout=60) for loader in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outputs
    assert sum(out.count("\nloaded ") + out.startswith("loaded ") for out, _ in outputs) == 10
    assert len(project.rows()) == len(project.ledger()) == 10


def test_two_loaders_at_once_on_different_files_commit_in_the_order_of_ids(project: Project):
    for number in range(10):
        project.write(f"{ORDERS}/b{number}.csv", b"id,note\n" + b"%d,a\n" % number * 500)
        project.write(f"incremental/shop/pages/b{number}.csv", b"page,x\n" + b"%d,a\n" % number * 500)
    with project.start("shop/orders") as one, project.start("shop/pages") as other:
        outputs = [loader.communicate(timeout=60) for loader in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0), outputs
    assert [batch_id for (batch_id,) in project.ledger("batch_id")] == list(range(1, 21))
    finished = [at for (at,) in project.ledger("finished_at")]
    assert finished == sorted(finished)
    assert [line for line, *_ in project.rows()] == list(range(2, 502)) * 10


def test_a_file_that_another_loader_loads_meanwhile_is_known(project: Project, load, monkeypatch: pytest.MonkeyPatch):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    attempt = ingest.attempt

    def attempt_after_another_loader(*arguments):  # and after the ledger was read
        with project.start() as other:
            assert "1 loaded" in other.communicate(timeout=60)[0]
        return attempt(*arguments)

    monkeypatch.setattr(ingest, "attempt", attempt_after_another_loader)
    code, out, _ = load()
    assert (code, out) == (0, "1 file: 0 loaded (0 rows, 0 lines rejected), 1 known, 0 failed\n")
    assert len(project.rows()) == len(project.ledger()) == 1


def test_a_file_is_read_once_and_hashed_only_where_the_ledger_has_a_candidate(
    project: Project, load, monkeypatch: pytest.MonkeyPatch
):
    read = []

    class Source(streams.Source):
        def __init__(self, file: landing.LandingFile) -> None:
            super().__init__(file)
            read.append(file.label)

    def reads(name: str, content: bytes) -> int:
        project.write(f"{ORDERS}/{name}", content)
        read.clear()
        assert load()[0] == 0
        return len([label for label in read if label == f"shop/orders/{name.partition('.')[0]}"])

    monkeypatch.setattr(streams, "Source", Source)
    assert reads("b1.csv", b"id,note\n1,a\n") == 1
    assert reads("b1.csv", b"id,note\n1,a\n") == 1, "for its hash, as its path is known"
    assert reads("b2.csv", b"id,note\n2,b\n") == 2, "for its hash, as another batch has its size, and for its rows"
    assert reads("b3.csv.gz", b"id,note\n1,a\n3,c\n") == 1
    assert reads("b4.jsonl", b'{"id": 4, "note": "d"}') == 1
    assert reads("b5.csv", b"id,note\n5,e\n6\n") == 1, "whatever is wrong with its lines"
    assert reads("b6.csv", b"id,note\n7,f\n\n\r\n\n") == 1, "blank lines at the end mean nothing"
    assert project.rows()[-1] == (2, "7", "f")


def test_what_the_ledger_knows_is_read_for_some_files_at_a_time(
    project: Project, load, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(landing, "GRAIN", 0)
    monkeypatch.setattr(ingest, "AT_ONCE", 2)
    asked, known_files = [], raw_tables.known_files
    monkeypatch.setattr(
        raw_tables, "known_files", lambda cursor, paths: asked.append(len(paths)) or known_files(cursor, paths)
    )
    for number in range(5):
        project.write(f"{ORDERS}/b{number}.csv", b"id,note\n%d,a\n" % number)
    assert "5 files: 5 loaded (5 rows, 0 lines rejected), 0 known, 0 failed" in load()[1]
    monkeypatch.setattr(streams, "Source", None)  # nothing is read again
    assert "5 known, 0 failed" in load("--dry-run")[1]
    assert "5 known, 0 failed" in load()[1]
    assert asked == [2, 2, 1] * 3


def test_a_known_file_is_not_read_again_until_something_about_it_changes(
    project: Project, load, monkeypatch: pytest.MonkeyPatch
):
    """What may change unseen is what changes within the grain of the clock, so that only settled files are trusted."""
    read = []
    init = streams.Source.__init__

    def counted_init(source, file):
        read.append(file.label)
        init(source, file)

    def reads(*arguments: str, code: int = 0) -> int:
        read.clear()
        assert load(*arguments)[0] == code
        return len(read)

    monkeypatch.setattr(streams.Source, "__init__", counted_init)
    file = project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    assert [reads(), reads(), project.query("select * from raw._files")] == [1, 1, []], "it isn't settled"
    monkeypatch.setattr(landing, "GRAIN", 0)
    assert [reads("--dry-run"), reads(), reads(), reads("--verify")] == [1, 1, 0, 1]
    (copy := project.write(f"{ORDERS}/b2.csv", b"id,note\n1,a\n")).touch()
    assert [reads(), reads()] == [1, 0], "the same bytes under another path are known as well"
    assert "known    shop/orders/b2                       batch 1 has these bytes already" in load()[1]
    times = file.stat()
    file.write_bytes(b"id,note\n1,b\n")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))  # nobody can set the third time
    assert reads(code=1), "a changed file is refused"
    assert reads(code=1), "each time"
    assert reads("--replace") > 2, "and the other file is loaded, as its batch is no longer in use"
    assert project.rows() == [(2, "1", "b"), (2, "1", "a")]
    assert reads() == 0
    project.write(f"{ORDERS}/b3.csv", b"id,note\n1,b\n")
    load()
    file.write_bytes(b"id,note\n1,d\n")
    load("--replace", "shop/orders/b1")
    assert "1 loaded" in load()[1], "what was known as a batch that another run has replaced"
    copy.unlink()
    os.link(project.write("b9", b"id,note\n2,c\n"), copy)
    assert reads(code=1), "another file in its place"
    with contextlib.closing(connect(cursor_factory=NamedTupleCursor)) as connection, connection:
        feed_data.drop(connection.cursor(), ["shop"], [])
    assert reads(), "what was dropped is loaded again"
    assert len(project.rows()) == 3


def test_a_killed_load_leaves_no_file_known(project: Project, load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(landing, "GRAIN", 0)
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    record_files = raw_tables.record_files

    def record_and_die(cursor, files):
        record_files(cursor, files)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(raw_tables, "record_files", record_and_die)
        load()
    assert project.query("select * from raw._files") == project.ledger() == []
    assert "1 loaded" in load()[1]
    assert len(project.query("select * from raw._files")) == 1


def test_a_ledger_from_before_files_were_known_by_their_times_is_upgraded(
    project: Project, load, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(landing, "GRAIN", 0)
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    load()
    project.query("drop table raw._files")
    assert "1 known" in load()[1]
    assert project.query("select path, batch_id from raw._files") == [(f"{ORDERS}/b1.csv", 1)]


def test_a_session_that_holds_row_ids_in_advance_does_not_bend_line_numbers(project: Project, load):
    """A sequence with a cache gives each session ids of its own in advance, which must not be mixed into a batch."""
    load()
    contents = (
        b"id,note\n" + b"%d,a\n" % number * 20_000 for number in itertools.count()
    )  # not numbered by the loader
    entity = declared.entities(project.root / "dbt/models")["shop", "orders"]
    with raw_tables.transaction("one") as cursor:
        cursor.execute("select nextval('raw._row_ids')")  # 999 more are held here now
        cursor.connection.commit()
        project.write(f"{ORDERS}/b1.csv", next(contents))
        load()
        file = landing.LandingFile(project.write(f"{ORDERS}/b2.csv", next(contents)).parent, "b2.csv", entity)
        load_file(cursor, file)
    project.write(f"{ORDERS}/b3.csv", next(contents))
    load(f"{ORDERS}/b3.csv")
    assert [line for line, *_ in project.rows()] == [*range(2, 20_002)] * 3
    assert project.query("select count(*) - count(distinct _row_id) from raw.shop__orders") == [(0,)]


def test_a_server_that_restarts_between_batches_costs_nothing(project: Project, load, monkeypatch: pytest.MonkeyPatch):
    for number in range(3):
        project.write(f"{ORDERS}/b{number}.csv", b"id,note\n%d,a\n" % number)
    attempt = ingest.attempt

    def attempt_after_the_sessions_were_ended(*arguments):
        project.query(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
        return attempt(*arguments)

    monkeypatch.setattr(ingest, "attempt", attempt_after_the_sessions_were_ended)
    assert load()[0] == 0
    assert len(project.rows()) == 3


@pytest.mark.parametrize(("step", "header"), [("open_batch", b"id,note\n"), ("has_candidates", b"no columns of it\n")])
def test_a_server_that_goes_away_during_a_batch_fails_that_batch_only(
    project: Project, load, monkeypatch: pytest.MonkeyPatch, step: str, header: bytes
):
    project.write(f"{ORDERS}/b0.csv", header + b"1,a\n")
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    original, calls = getattr(raw_tables, step), []

    def end_the_session_afterwards(cursor, *arguments):
        result = original(cursor, *arguments)
        calls.append(arguments)
        if len(calls) == 1:
            project.query("select pg_terminate_backend(%s)", [cursor.connection.info.backend_pid])
        return result

    monkeypatch.setattr(raw_tables, step, end_the_session_afterwards)
    code, _, err = load()
    assert code == 1
    assert f"error: {ORDERS}/b0.csv" in err
    assert [status for (status,) in project.ledger("status")] == ["failed", "loaded"]


# -- Lines that can't be rows ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "rows", "rejected"),
    [
        (
            b"1,a\n2\n3,c\n",
            [(2, "1", "a"), (4, "3", "c")],
            [(3, "2", "ragged", "the line has 1 field, the header has 2")],
        ),
        (b"1,a\n2,b,c\n", [(2, "1", "a")], [(3, "2,b,c", "ragged", "the line has 3 fields, the header has 2")]),
        (b"1,a\n\n2,b\n", [(2, "1", "a"), (4, "2", "b")], []),
        (b"1,a\0\n2,b\n", [(3, "2", "b")], [(2, "1,a\\x00", "nul_character", "the line contains a NUL character")]),
        (b"1,\xe9\n2,b\n", [(3, "2", "b")], [(2, "1,\\xe9", "not_utf8", "byte 3 of the line, 0xe9, is not UTF-8")]),
        (b'1,"a\n2,b\n', [(3, "2", "b")], [(2, '1,"a', "unclosed_quote", "a quote is opened but never closed")]),
        (b'1,"a"b\n2,b\n', [(3, "2", "b")], [(2, '1,"a"b', *csv_records.MISPLACED_QUOTE)]),
        (
            b"1,a\n\\.\n2,b\n",
            [(2, "1", "a"), (4, "2", "b")],
            [(3, "\\.", "ragged", "the line has 1 field, the header has 2")],
        ),
        (b'1,12" pipe\n', [(2, "1", '12" pipe')], []),
        (b'1,12" by 13" pipe\n', [(2, "1", '12" by 13" pipe')], []),  # COPY alone would drop both quotes in silence
        (b'1,a""b\n', [(2, "1", 'a""b')], []),
        (b'1,"a\nb"\n2,c\n', [(2, "1", "a\nb"), (4, "2", "c")], []),
        (b"1,a\r\n2,b\r\n", [(2, "1", "a"), (3, "2", "b")], []),
        (b"1,a\r\n2,b\n", [(2, "1", "a"), (3, "2", "b")], []),
        (b"1,a\r2,b\n3,c\n", [(3, "3", "c")], [(2, "1,a\r2,b", *csv_records.CARRIAGE_RETURN)]),
        (b'1,\n2,""\n3,\' null \\N\n', [(2, "1", ""), (3, "2", ""), (4, "3", "' null \\N")], []),
        (b"1,'); drop table raw._batches; --\n", [(2, "1", "'); drop table raw._batches; --")], []),
        (b"1,%s %(x)s \\n\n", [(2, "1", "%s %(x)s \\n")], []),
        (b"", [], []),
    ],
)
def test_a_line_that_can_not_be_a_row_is_rejected_and_the_rest_loads(
    project: Project, load, body: bytes, rows: list, rejected: list
):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n" + body)
    code, _, err = load()
    assert (code, err) == (0, "")
    assert project.rows() == rows
    assert project.rejected() == rejected
    counts = (len(rows) + len(rejected), len(rows), len(rejected))
    assert project.ledger() == [(1, "loaded", *counts)]


def test_line_numbers_stay_exact_over_batches_of_both_paths(project: Project, load):
    contents = [b"1,a\n", b"\n1,a\n\n2,b\n\n\n", b"1,a\n2,b\n", b"", b'1,"a\n\n\n"\n2,b\n', b"3,c\n"]
    for number, content in enumerate(contents):
        project.write(f"{ORDERS}/b{number}.csv", b"id,note\n" + content)
    load()
    assert [line for line, *_ in project.rows()] == [2, 3, 5, 2, 3, 2, 6, 2]
    assert project.query("select count(*) - count(distinct _row_id) from raw.shop__orders") == [(0,)]


def test_a_header_over_two_lines_shifts_the_lines(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b'id,note,"new\ncolumn"\n1,a,x\n2,b,y\n')
    load()
    assert project.rows("id, new_column") == [(3, "1", "x"), (4, "2", "y")]


def test_a_field_of_a_megabyte_lands_whole(project: Project, load):
    field = b"x," * 500_000
    project.write(f"{ORDERS}/b1.csv", b'id,note\n1,"' + field + b'"\n2,"a""' + field + b'\n"\n')
    assert load()[0] == 0
    assert project.rows("length(note)") == [(2, 1_000_000), (3, 1_000_003)]


def test_a_long_rejected_line_is_kept_up_to_a_million_characters(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n" + b"x" * 3_000_000 + b"\n1,a\n")
    assert load()[0] == 0
    assert project.query("select length(line) from raw._rejected_lines") == [(1_000_000,)]
    assert project.rows() == [(3, "1", "a")]


def test_strict_refuses_a_file_with_any_bad_line(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n2\n3,b,c\n")
    code, _, err = load("--strict")
    assert code == 1
    first = f"error: {ORDERS}/b1.csv, line 3: the line has 1 field, the header has 2"
    assert f"{first} (rejected lines: 2; --strict allows none)\n" in err
    assert project.query("select count(*) from raw.shop__orders") == [(0,)]
    assert project.rejected() == []
    assert load()[0] == 0


def test_a_warehouse_from_before_the_codes_is_upgraded(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n2\n")
    load()
    project.query("""
        alter table raw._rejected_lines drop column explanation;
        update raw._rejected_lines set reason = 'it has 1 fields, and the header has 2';
        drop function raw._explanation, raw._reason;
        create function raw._why_no_row(line text) returns text immutable
        return case when line is not json object then 'it is not a JSON object' end;
        create unlogged table raw._lines (
            number bigint not null,
            text text not null,
            problem text,
            reason text generated always as (coalesce(problem, raw._why_no_row(text))) stored
        )
    """)
    project.write(f"{ORDERS}/b2.csv", b"id,note\n1,a\n7\n")
    assert "1 loaded (1 row, 1 line rejected), 1 known" in load()[1]
    assert project.rejected() == [
        (3, "2", "damaged", "it has 1 fields, and the header has 2"),
        (3, "7", "ragged", "the line has 1 field, the header has 2"),
    ]
    nullable = "select count(*) from pg_attribute where attrelid = 'raw._rejected_lines'::regclass and attnum > 0"
    assert project.query(f"{nullable} and not attisdropped and not attnotnull") == [(0,)]
    assert project.query("select to_regclass('raw._lines'), to_regproc('raw._why_no_row')") == [(None, None)]


# -- Columns by name ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"note,id\na,1\n",
        b"\xef\xbb\xbfid,note\n1,a\n",
        b"\xef\xbb\xbfNOTE,ID\r\na,1\r\n",
        b'"note ",  "id"\r\na,1\r\n'.replace(b'  "id"', b" id "),
        b"Note,Id\na,1",
    ],
)
def test_columns_are_mapped_by_name(project: Project, load, content: bytes):
    project.write(f"{ORDERS}/b1.csv", content)
    assert load()[0] == 0
    assert project.rows() == [(2, "1", "a")]


@pytest.mark.parametrize(
    ("name", "content"), [("b1.csv", b"page\n/home\n"), ("b1.jsonl", b'{"page": "/home"}\n')], ids=["csv", "json"]
)
def test_a_file_may_lack_an_optional_column(project: Project, load, name: str, content: bytes):
    project.write(f"incremental/shop/pages/{name}", content)
    project.write("incremental/shop/pages/b2.csv", b"referrer,page\n/home,/cart\n")
    assert load()[0] == 0
    assert [row[1:] for row in project.rows("page, referrer", "shop__pages")] == [("/home", None), ("/cart", "/home")]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "line 1: not a valid header: the file is empty (it names the columns)"),
        (b"\nid,note\n", "line 1: not a valid header: the line is blank"),
        (b"id\n", "line 1: no column note (found id): add it"),
        (
            b"id|note\n",
            "line 1: not a valid header: found vertical bars, expected commas: declare `format: {delimiter: '|'}`",
        ),
        (b"id,note,id\n", 'line 1: columns "id" and "id" both become id, which the source shop declares: rename one'),
        (b"id,note,\xe9\n", "line 1: not a valid header: byte 9 of the line, 0xe9, is not UTF-8"),
        (b'id,note,"x\n', "line 1: not a valid header: a quote is opened but never closed"),
        (b'id, "note"\n', "line 1: not a valid header: a field begins with a space and a quote"),
    ],
)
def test_a_header_that_can_not_be_mapped_is_refused_with_the_way_out(
    project: Project, load, header: bytes, message: str
):
    project.write(f"{ORDERS}/b1.csv", header)
    code, _, err = load()
    assert code == 1
    assert err.startswith(f"error: {ORDERS}/b1.csv")
    assert message in err
    assert project.ledger("status, error") == [("failed", err.removeprefix("error: ").rstrip("\n"))]


def test_a_new_column_is_added_and_reported_and_null_where_a_file_has_none(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    project.write(f"{ORDERS}/b2.csv", b'id,"Gift ""note""; drop",note\n2,,b\n')
    _, out, _ = load()
    assert "1 row, new column gift_note_drop" in out
    assert project.rows("id, gift_note_drop") == [(2, "1", None), (2, "2", "")]


def test_names_of_63_bytes_and_hostile_ones_are_quoted(project: Project, load):
    project.write(f"{ORDERS}/x'; drop schema raw; --.csv", b"id,note,select,%s," + b"y" * 63 + b"\n1,a,b,c,d\n")
    project.write("incremental/o'k \"ey; --/tab%s le/a..b.csv", b"id\n1\n")
    code, _, err = load()
    assert (code, err) == (0, "")
    assert project.rows('id, "select", s, ' + "y" * 63) == [(2, "1", "b", "c", "d")]
    assert project.query('select id from raw."o\'k ""ey; --__tab%s le"') == [("1",)]


def test_a_single_column_has_no_blank_rows(project: Project, load):
    project.write("incremental/shop/pages/b1.csv", b'page\na\n\n""\n\\.\n')
    load()
    assert project.rows("page", "shop__pages") == [(2, "a"), (4, ""), (5, "\\.")]
    assert project.rejected() == []


# -- JSON and gzip -----------------------------------------------------------------------------------------------------

JSON_ROWS = [(1, "1.10", "a"), (2, "true", None), (3, '{"x": [1.0]}', None)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("b1.jsonl", b'{"id": 1.10, "note": "a"}\n{"id": true, "note": null}\n{"id": {"x": [1.0]}}'),
        ("b1.jsonl.gz", b'{"id": 1.10, "note": "a"}\r\n{"id": true, "note": null}\r\n{"id": {"x": [1.0]}}\r\n'),
        ("b1.json", b'[{"id": 1.10, "note": "a"},\n{"id": true, "note": null},\n{"id": {"x": [1.0]}}]'),
        ("b1.json.gz", b'[{"id": 1.10, "note": "a"}, {"id": true, "note": null},\n{"id": {"x": [1.0]}}]'),
    ],
)
def test_json_lands_as_delivered(project: Project, load, name: str, content: bytes):
    project.write(f"{ORDERS}/{name}", content)
    code, _, err = load()
    assert (code, err) == (0, "")
    assert project.rows() == JSON_ROWS


def test_the_line_of_an_array_s_element_is_where_it_begins(project: Project, load):
    project.write(f"{ORDERS}/b1.json", b'\n[\n{"id": 1,\n"note": "a"},\n\n{"id": 2, "note": "b"},\n3]\n')
    assert load()[0] == 0
    assert project.rows() == [(3, "1", "a"), (6, "2", "b")]
    assert project.rejected() == [(7, "3", "not_an_object", "the JSON is not an object")]


def test_keys_of_json_are_columns(project: Project, load):
    project.write(f"{ORDERS}/b1.jsonl", b'{"b": 1, "id": 2}\n{"id": 3, "note": "a", "a\'\\"": 4}\n')
    assert "2 rows, new column b, new column a" in load()[1]
    assert project.rows("id, note, a, b") == [(1, "2", None, None, "1"), (2, "3", "a", "4", None)]
    project.write(f"{ORDERS}/b2.jsonl", b'{"id": 1, "Id": 2}\n')
    load()
    assert project.rejected() == [(1, '{"id": 1, "Id": 2}', "ambiguous_key", '"id" and "Id" both become id')]


def test_two_keys_of_one_column_are_told_apart_in_any_order(project: Project, load):
    one, other = (
        b'{"id":1,"note":2,"Ref Url":"capital","ref_url":"small"}\n',
        b'{"id":1,"note":2,"ref_url":"s","Ref Url":"c"}\n',
    )
    project.write(f"{ORDERS}/b1.jsonl", one * 2 + other * 3)
    assert load()[0] == 0
    assert [row[1:] for row in project.rows("ref_url, ref_url__2")] == [("capital", "small")] * 2 + [("c", "s")] * 3
    empty, ambiguous = b'{"id":1,"note":"home","Note":null}\n', b'{"id":1,"note":"a","Note":"b"}\n'
    project.write(f"{ORDERS}/b2.jsonl", empty * 2 + ambiguous)
    assert load()[0] == 0
    assert project.ledger("rows_loaded, rows_rejected")[1] == (2, 1)
    assert [reason for _, _, reason, _ in project.rejected()] == ["ambiguous_key"]


def test_gzipped_csv_is_hashed_as_delivered(project: Project, load):
    file = project.write(f"{ORDERS}/b1.csv.gz", b"id,note\n1,a\n2\n")
    assert load()[0] == 0
    assert project.rows() == [(2, "1", "a")]
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert project.ledger("sha256, bytes, rows_rejected") == [(digest, file.stat().st_size, 1)]


@pytest.mark.parametrize("cut", [5, 40, -4])
def test_damaged_gzip_is_refused(project: Project, load, cut: int):
    file = project.write(f"{ORDERS}/b1.csv.gz", b"id,note\n" + b"".join(b"%d,a\n" % n for n in range(1000)))
    file.write_bytes(file.read_bytes()[:cut])
    code, _, err = load()
    assert code == 1
    assert f"error: {ORDERS}/b1.csv.gz: " in err
    assert project.query("select count(*) from raw.shop__orders") == [(0,)]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("b1.jsonl", b'{"note": 1}\n', ": no column id (found note): add it to the file"),
        ("b1.json", b'{"id": 1, "note": 2}', ", line 1: this is one JSON object, not an array of rows"),
        ("b1.json", b'[{"id": 1, "note": 2},\n{"id": 1', ", line 2: the JSON is damaged or cut off"),
    ],
)
def test_json_that_has_no_such_column_is_refused(project: Project, load, name: str, content: bytes, message: str):
    project.write(f"{ORDERS}/{name}", content)
    code, _, err = load()
    assert code == 1
    assert f"error: {ORDERS}/{name}{message}" in err
    assert [status for (status,) in project.ledger("status")] == ["failed"]


def test_an_empty_array_is_a_batch_without_rows(project: Project, load):
    project.write(f"{ORDERS}/b1.json", b"[]\n")
    assert load()[0] == 0
    assert project.ledger() == [(1, "loaded", 0, 0, 0)]


def test_values_of_json_land_as_delivered(project: Project, load):
    lines = {
        b'{"id": 1.10, "note": "a\\n\\u00e9\\""}': ("1.10", 'a\né"'),
        b'{"id": 1e5, "note": -0}': ("1e5", "-0"),
        b'{"id": 12345678901234567890123, "note": ""}': ("12345678901234567890123", ""),
        b'{"id": {"x": [1.0, "\\u00e9", null]}, "note": []}': ('{"x": [1.0, "\\u00e9", null]}', "[]"),
    }
    project.write(f"{ORDERS}/b1.jsonl", b"\n".join(lines))
    assert load()[0] == 0
    assert [row for _, *row in project.rows()] == [list(row) for row in lines.values()]


TWICE = ("duplicate_key", "the JSON has the same key twice")
HALF_A_PAIR = ("not_json", "not valid JSON: Unicode low surrogate must follow a high surrogate.")
BAD_JSON = {
    b"7": ("not_an_object", "the JSON is not an object"),
    b"[]": ("not_an_object", "the JSON is not an object"),
    b'{"id": 1,}': ("not_json", 'not valid JSON: Expected string, but found "}".'),
    b'{"id": NaN}': ("not_json", 'not valid JSON: Token "NaN" is invalid.'),
    b'{"id": 1, "id": 2}': TWICE,
    b'{"id": {"b": 1, "b": 2}}': TWICE,
    b'{"id": "\\u0000"}': ("not_json", "not valid JSON: \\u0000 cannot be converted to text."),
    b'{"id": "\0"}': ("nul_character", "the line contains a NUL character"),
    b'{"id": "\\ud800"}': HALF_A_PAIR,
    b'{"\\ud800": 1}': HALF_A_PAIR,
    b'{"id": "\xe9"}': ("not_utf8", "byte 9 of the line, 0xe9, is not UTF-8"),
}


@pytest.mark.parametrize(("name", "joined"), [("b1.jsonl", b"\n"), ("b1.json", b",\n")])
def test_json_that_can_not_be_a_row_is_rejected(project: Project, load, name: str, joined: bytes):
    bad = {line: problem for line, problem in BAD_JSON.items() if name == "b1.jsonl" or line != b'{"id": 1,}'}
    content = joined.join([*bad, b'{"id": 1, "note": 2}'])
    project.write(f"{ORDERS}/{name}", content if name == "b1.jsonl" else b"[" + content + b"]")
    assert load()[0] == 0
    assert project.rows() == [(len(bad) + 1, "1", "2")]
    assert [(number, problem) for number, _, *problem in project.rejected()] == list(
        enumerate(map(list, bad.values()), start=1)
    )


@pytest.mark.parametrize("name", ["b1.csv", "b1.jsonl"])
def test_a_row_that_is_too_big_for_a_page_is_rejected_and_the_others_load(project: Project, load, name: str):
    names = ["id", "note", *(f"c{number}" for number in range(900))]
    rows = [[str(number), *([value] * 901)] for number, value in enumerate(["", "x" * 20, "y", "z" * 20])]
    if name == "b1.csv":
        lines = [",".join(each) for each in [names, *rows]]
    else:
        lines = ["", *(json.dumps(dict(zip(names, row, strict=True))) for row in rows)]
    project.write(f"{ORDERS}/{name}", "\n".join([*lines, "{"]).encode())
    assert load()[0] == 0
    assert project.rows("id, c899") == [(2, "0", ""), (4, "2", "y")]
    found = [(number, line, reason) for number, line, reason, _ in project.rejected()]
    assert found[:2] == [(3, lines[2], "too_big"), (5, lines[4], "too_big")]
    assert project.rejected()[0][3].startswith("row is too big: size ")
    assert project.ledger("rows_read, rows_loaded, rows_rejected") == [(5, 2, 3)]


def test_an_object_with_too_many_keys_is_rejected(project: Project, load):
    def written(count: int, padding: str) -> str:
        return json.dumps({"id": padding, "note": 2, **dict.fromkeys(map(str, range(count - 2)))})

    lines = [written(3, ""), written(1001, ""), written(1001, "x" * 10_000), written(2, "")]
    project.write(f"{ORDERS}/b1.jsonl", "\n".join(lines).encode())
    assert load()[0] == 0
    assert [line for line, *_ in project.rows()] == [1, 4]
    problem = ["too_many_keys", "the object has 1001 keys, and can have 1,000"]
    assert [problem for _, _, *problem in project.rejected()] == [problem] * 2


def test_blank_lines_between_records_are_counted(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note\n\n1,a\n\n\n2\n\n")
    project.write(f"{ORDERS}/b2.jsonl", b'\n{"id": 1}\n \n7\n\n')
    first, second, _ = load()[1].splitlines()
    assert (first[-13:], second[-13:]) == ("3 blank lines", "2 blank lines")


def test_what_is_set_aside_is_written_now_and_then(project: Project, load, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(rows_module, "ENOUGH_LINES", 2)
    project.write(f"{ORDERS}/b1.csv", b"id,note\n" + b"1,a\n2\n\n" * 9)
    project.write(f"{ORDERS}/b2.jsonl", b'{"id": [1.0]}\n7\n{"id": 2}\n' * 9)
    assert load()[0] == 0
    assert [number for number, *_ in project.rows()] == [
        *range(2, 29, 3),
        *sorted([*range(1, 28, 3), *range(3, 28, 3)]),
    ]
    assert [number for number, *_ in project.rejected()] == [*range(3, 29, 3), *range(2, 28, 3)]


@pytest.mark.parametrize("name", ["b1.csv", "b1.jsonl"])
@pytest.mark.parametrize(("limit", "what"), [("max_lines", "5 lines are"), ("max_bytes", "5 bytes of lines are")])
def test_a_file_of_which_too_much_is_rejected_is_refused_with_the_first_lines(
    project: Project, load, monkeypatch: pytest.MonkeyPatch, name: str, limit: str, what: str
):
    limits = {"max_lines": 100, "max_bytes": 100, "fail_above": 1, limit: 5}
    monkeypatch.setattr(declared, "reject_limits", lambda _: limits)
    project.write(f"{ORDERS}/{name}", b"id,note\n" * name.endswith("csv") + b"7\n" * 5)
    assert load()[0] == 0
    project.write(f"{ORDERS}/b2{name[2:]}", b"id,note\n" * name.endswith("csv") + b"7\n" * 6)
    code, _, err = load("shop/orders/b2")
    first = 2 if name == "b1.csv" else 1
    why = "the line has 1 field, the header has 2" if name == "b1.csv" else "the JSON is not an object"
    assert code == 1
    assert f"more than {what} rejected" in err
    assert f"({'; '.join(f'line {number}: {why}' for number in range(first, first + 3))})" in err


def test_json_that_is_nested_too_deeply_for_the_server_is_rejected(project: Project, load):
    brackets_in_a_text = b'{"id": "' + b"[{" * 5_000 + b'\\"", "note": [' + b",".join([b"{}"] * 5_000) + b"]}"
    bottomless = b'{"id": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b', "note": 1}'
    project.write(f"{ORDERS}/b1.jsonl", b"\n".join([brackets_in_a_text, bottomless, b'{"id": 1, "note": 2}']))
    assert load()[0] == 0
    assert [number for number, *_ in project.rows()] == [1, 3]
    assert [(number, *problem) for number, _, *problem in project.rejected()] == [
        (2, "too_deep", "the JSON is nested more than 1,000 levels deep")
    ]


# -- What is loaded ----------------------------------------------------------------------------------------------------


def test_declared_entities_without_files_are_empty_tables(project: Project, load):
    code, out, err = load()
    assert (code, err, out) == (0, "", "0 files: 0 loaded (0 rows, 0 lines rejected), 0 known, 0 failed\n")
    columns = "select string_agg(column_name, ' ' order by ordinal_position) from information_schema.columns"
    assert project.query(f"{columns} where table_name = 'shop__orders'") == [("_batch_id _row_id id note",)]
    assert load()[0] == 0


def test_an_undeclared_feed_or_entity_is_refused_by_name_and_the_others_load(project: Project, load):
    project.write("incremental/nofeed/orders/b1.csv", b"id,note\n1,a\n")
    project.write("initial/shop/nothing.csv", b"id,note\n1,a\n")
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    code, out, err = load()
    assert code == 1
    assert "error: incremental/nofeed/orders/b1.csv: not a file of a declared entity" in err
    assert "error: initial/shop/nothing.csv: not a file of a declared entity" in err
    assert "1 loaded (1 row, 0 lines rejected), 0 known, 2 failed" in out
    assert load("shop/orders")[0] == 0, "what isn't named isn't looked at"


def test_a_declaration_that_can_not_be_used_costs_its_feed_only(project: Project, load):
    zoo = project.root / "dbt/models/zoo/sources.yml"
    zoo.parent.mkdir()
    zoo.write_text("sources: [{name: zoo, loader: bin/ingest, tables: [{nam: animals}]}]")
    project.write("incremental/zoo/animals/b1.csv", b"id\n1\n")
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    problem = (
        f"error: {zoo}: not a valid declaration of sources: KeyError('name') (nothing of the feed zoo is loaded)\n"
    )
    code, out, err = load()
    assert (code, err) == (1, problem)
    assert out.endswith("2 files: 1 loaded (1 row, 0 lines rejected), 0 known, 1 failed\n")
    assert load("shop")[0] == 0, "what isn't named isn't looked at"
    assert load("zoo/animals/b1")[::2] == load("zoo")[::2] == (1, problem)
    shutil.rmtree(project.data / "incremental/zoo")
    assert load("zoo")[::2] == load("--initial")[::2] == (1, problem), "a feed without files is missing, too"
    zoo.write_text("sources: [{name: zoo, loader: bin/ingest, tables: [")
    assert f"error: {zoo}: not valid YAML: " in load("zoo")[2], "the folder says which feed it is"


def test_names_choose_what_is_loaded(project: Project, load):
    for path in ("initial/shop/orders.csv", f"{ORDERS}/b1.csv", f"{ORDERS}/b2.csv"):
        project.write(path, b"id,note\n%s,a\n" % path.encode())
    file = project.write("initial/shop/pages.csv", b"page\n1\n")
    assert load("shop/orders/b2")[0] == 0
    assert project.ledger("path") == [(f"{ORDERS}/b2.csv",)]
    assert "1 file: 1 loaded" in load(file)[1]
    assert "2 files: 1 loaded (1 row, 0 lines rejected), 1 known" in load("--initial")[1]
    assert "error: no landing file matches shop/order:" in load("shop/order")[2]
    assert "3 files: 1 loaded" in load("shop/orders")[1]


def test_a_dry_run_says_what_would_happen_and_writes_nothing(project: Project, load):
    project.write(f"{ORDERS}/b1.csv", b"id,note,extra\n1,a,x\n")
    code, out, _ = load("--dry-run")
    assert code == 0
    assert "to load  shop/orders/b1" in out
    assert "new column extra" in out
    project.write(f"{ORDERS}/b0.jsonl", b'{"id": 1, "": 2}')
    assert 'to load  shop/orders/b0                       new column column__unnamed for ""\n' in load("--dry-run")[1]
    (project.data / ORDERS / "b0.jsonl").unlink()
    assert project.query("select count(*) from pg_namespace where nspname = 'raw'") == [(0,)]
    load()
    project.write(f"{ORDERS}/b1.csv", b"id,note\n1,b\n")
    project.write(f"{ORDERS}/b2.csv", b"id\n1\n")
    project.write(f"{ORDERS}/b3.csv", b"id,note,extra\n1,a,x\n")
    code, out, err = load("--dry-run")
    assert code == 1
    assert "batch 1 was loaded from this path with other bytes" in err
    assert "b2.csv, line 1: no column note" in err
    assert "batch 1 has these bytes already" in out
    assert "0 to load" in out
    assert "replaces batch 1" in load("--dry-run", "--replace", "shop/orders/b1")[1]
    assert len(project.ledger()) == 1


def test_a_file_that_changes_while_it_is_read_is_refused(project: Project, load, monkeypatch: pytest.MonkeyPatch):
    file = project.write(f"{ORDERS}/b1.csv", b"id,note\n1,a\n")
    open_batch = raw_tables.open_batch

    def open_batch_while_the_file_grows(*arguments):
        if len(file.read_bytes()) < 20:
            file.write_bytes(file.read_bytes() + b"2,more\n3,more\n")
        return open_batch(*arguments)

    monkeypatch.setattr(raw_tables, "open_batch", open_batch_while_the_file_grows)
    monkeypatch.setattr(records, "BLOCK", 8)
    code, _, err = load()
    assert code == 1
    assert "b1.csv: the file changed while it was read" in err


# -- Any file at all ---------------------------------------------------------------------------------------------------


class Trial(NamedTuple):
    """What became of a file: its rows, its rejected lines, its batch, and how many records were read one by one."""

    rows: list[tuple]
    rejected: list[tuple]
    batch: raw_tables.Batch
    single_records: int


@pytest.fixture
def trial(project: Project, load) -> Iterator[Callable[..., tuple[Trial, Trial]]]:
    """Give a function that loads bytes as usual, and again with care for each record: no line is said to be plain."""
    load()
    entity = declared.entities(project.root / "dbt/models")["shop", "orders"]
    with raw_tables.transaction("trial", keep=False) as cursor:

        def found(file: landing.LandingFile, batch: raw_tables.Batch) -> Trial:
            calls, record = [], csv_records.CsvReader.record

            def counted_record(reader):
                if found := record(reader):
                    calls.append(reader)
                return found

            cursor.execute("savepoint trial")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(csv_records.CsvReader, "record", counted_record)
                loaded = load_rows(cursor, file, batch, dry_run=False).batch
            select = "select _row_id - %s + 1, to_jsonb(shop__orders) from raw.shop__orders order by _row_id"
            cursor.execute(select, [batch.first_row_id])
            rows = cursor.fetchall()
            cursor.execute("select * from raw._rejected_lines order by line_number")
            rejected = cursor.fetchall()
            cursor.execute("rollback to savepoint trial")
            return Trial(rows, rejected, loaded, len(calls) - 1)  # but for the header

        def run(content: bytes, name: str = "b1.csv") -> tuple[Trial, Trial]:
            path = project.write(f"{ORDERS}/{name}", content)
            file = landing.LandingFile(path.parent, path.name, entity)
            batch = raw_tables.open_batch(cursor, entity, file.relative, file.size)
            usual = found(file, batch)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(csv_records.CsvReader, "are_plain", lambda *_: False)
                patch.setattr(json_records, "plain_values", lambda _: None)
                return usual, found(file, batch)

        yield run


ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
FIELD = ANY_TEXT | st.text('a,"\n\r\\.', max_size=6)
SETTINGS = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@SETTINGS
@given(
    rows=st.lists(st.tuples(FIELD, st.booleans(), FIELD, st.booleans()), max_size=6),
    line_end=st.sampled_from([b"\n", b"\r\n"]),
    ends=st.booleans(),
)
def test_both_ways_give_the_same_rows_for_any_well_formed_csv(trial, rows: list, line_end: bytes, ends: bool):
    def written(value: str, quoted: bool) -> bytes:
        plain = not quoted and not set(value) & set('"\r\n,')
        return value.encode() if plain else b'"%b"' % value.replace('"', '""').encode()

    records = [written(a, q) + b"," + written(b, r) for a, q, b, r in rows]
    content = b"id,note" + line_end + line_end.join(records) + (line_end if ends and records else b"")
    usual, careful = trial(content)
    expected, line = [], 2
    for record, (a, _, b, _) in zip(records, rows, strict=True):
        expected.append((line, a, b))
        line += record.count(b"\n") + 1
    assert [(number, row["id"], row["note"]) for number, row in careful.rows] == expected
    assert usual[:3] == careful[:3]
    assert not usual.rejected
    if not any(set(a + b) & set("\n\r") for a, _, b, _ in rows):
        assert usual.single_records == 0, "plain lines are copied as they are"


SALT = [
    b"\xef\xbb\xbf",
    b"id,note\n",
    b' "',
    b'a"b, c"\n',
    b"a",
    b",",
    b'"',
    b"\n",
    b"\r",
    b"\r\n",
    b"\\.",
    b"\xe9",
    b"\0",
    b'""',
    b" ",
    b"a,b\n",
    b'"a\nb",c\n',
]
LAYOUTS = [
    b'"a","b"\n',
    b'"b\nc","d"\n',
    b'a"",b\n',
    b'"a,b"\n',
    b'a","b\n',
    b'"","a"\n',
    b'"a""b",c\n',
    b'"",b\n',
    b'"a"b,c\n',
    b'"id","note"\n',
]


@SETTINGS
@given(lines=st.lists(st.sampled_from(LAYOUTS), max_size=4), line=st.sampled_from(LAYOUTS), count=st.integers(0, 4))
def test_quoted_lines_of_one_layout_are_read_like_others(trial, lines: list[bytes], line: bytes, count: int):
    usual, careful = trial(b"id,note\n" + line * count + b"".join(lines))
    assert usual[:3] == careful[:3]
    if not lines and line == b'"a","b"\n':
        assert usual.single_records == 0


SALTED_FIELD = st.lists(st.sampled_from([b"a", b'"', b'""', b" ", b"\\.", b"\r"]), max_size=4).map(b"".join)
SALTED_ROWS = st.lists(st.tuples(SALTED_FIELD, SALTED_FIELD).map(b",".join), max_size=3).map(b"\n".join)
SALTED = st.lists(st.sampled_from(SALT))


@SETTINGS
@given(body=SALTED_ROWS | SALTED.map(b"".join) | st.binary(max_size=60))
def test_whatever_follows_the_header_every_row_is_loaded_or_rejected(trial, body: bytes):
    usual, careful = trial(b"id,note\n" + body)
    assert usual[:3] == careful[:3]
    assert (usual.batch.rows_loaded, usual.batch.rows_rejected) == (len(usual.rows), len(usual.rejected))
    assert usual.batch.rows_read == len(usual.rows) + len(usual.rejected)


@SETTINGS
@given(
    bodies=st.lists(
        st.sampled_from([b"a,b\n", b'"a","b"\n', b"a,b,c\n", b'a"b,c\n', b'"a\nb",c\n', b"\n", b"a,\xe9\n"])
    ),
    repeats=st.lists(st.integers(1, 40), min_size=1),
    block=st.sampled_from([1, 50, 1 << 16]),
)
def test_where_some_lines_are_plain_both_ways_give_the_same_rows(trial, bodies: list, repeats: list, block: int):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK", block)
        content = b"".join(body * count for body, count in zip(bodies, itertools.cycle(repeats), strict=False))
        usual, careful = trial(b"id,note\n" + content)
    assert usual[:3] == careful[:3]


CHARACTERS = ['\\"', "\\u00e9", "\\u0000", "\\ud83d\\ude00", "\\ud83d", "\\x", "é", "\t", "\x7f", "a"]
JSON_TEXT = st.lists(st.sampled_from(CHARACTERS), max_size=2).map("".join)
NUMBERS = ["1", "-0", "01", "1.50", "1.", ".5", "1e3", "1E-2", "1e999999", "9" * 40, "9" * 38, "+1", "NaN", "Infinity"]
OTHERS = ["null", "true", "false", "nul", "True", "", "-", "[]", "{}", '{"a": 1.0,"a":2}', '[1, {"b": [2.0]}]']
JSON_SCALAR = JSON_TEXT.map('"{}"'.format) | st.sampled_from(NUMBERS) | st.sampled_from(OTHERS)
JSON_KEY = st.sampled_from(["id", "Id", " id", "ID", "note", "x", "X", "", "a b", "A b"]) | JSON_TEXT
JSON_PAIRS = st.lists(st.tuples(JSON_KEY.map('"{}"'.format), JSON_SCALAR).map(": ".join), max_size=4)
SPACE = st.sampled_from(["", "", "", " ", "\t ", "\r", "\u00a0"])
SAME_KEYS = st.tuples(*[SPACE] * 5, JSON_SCALAR, JSON_SCALAR, st.sampled_from(["", "", "\r", " \r", "x"])).map(
    lambda parts: '{}{{{}"id"{}:{}{},"note":{}{}}}{}'.format(*parts[:4], parts[5], parts[6], parts[4], parts[7])
)
JSON_LINE = (
    JSON_PAIRS.map(lambda pairs: f"{{{', '.join(pairs)}}}")
    | SAME_KEYS
    | st.sampled_from(
        [
            "",
            " ",
            "7",
            "[]",
            '"a"',
            "{",
            "{} x",
            " {}\t",
            "\u00a0",
            "null",
            '{"id": 1}, {"id": 2}',
            '{"id":1,}',
            "\ufeff{}",
        ]
    )
)


@settings(SETTINGS, max_examples=600)
@example(
    lines=['{"X": [1]}', '{"x": 1, "X": 2}'], block=1, ends=False
)  # the first line is judged later, and its key comes first all the same
@example(lines=['{"note": 1, "id": 2}', '{"id": 1, "id": 2, "note": 3}'], block=1, ends=True)
@example(lines=['{"id": "a\\"", "note": "\\u0000"}', '{"id": "\\ud83d", "note": [1]}'], block=1, ends=True)
@example(lines=['{"id":01,"note":2}', '{"id":1,"note":2}x', '{"note":1,"id":2}'], block=1, ends=True)
@example(lines=['{"id":1,"note":2}', '{"id":1,"note":2,"x":3}'] * 4, block=60, ends=True)
@given(
    lines=st.lists(JSON_LINE, max_size=8) | st.lists(SAME_KEYS, max_size=8),
    block=st.sampled_from([1, 60, 1 << 16]),
    ends=st.booleans(),
)
def test_python_reads_json_lines_as_postgresql_does(trial, lines: list[str], block: int, ends: bool):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK", block)  # from the second block on, lines are copied together if they are plain
        content = "\n".join(['{"id": 0, "note": 1}', '{"id": 1, "note": 2}', *lines]) + "\n" * ends
        usual, careful = trial(content.encode(), "b1.jsonl")
    assert usual[:3] == careful[:3]


PLAIN_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), max_size=6)
PLAIN_NUMBER = st.sampled_from(["0", "-0", "-0.10", "1.10", "9" * 38, "123.000", f"{'9' * 100}.{'1' * 100}"])
PLAIN_SCALAR = PLAIN_TEXT.map('"{}"'.format) | PLAIN_NUMBER | st.sampled_from(["null", "true", "false", '""', '"null"'])


@SETTINGS
@given(
    rows=st.lists(st.tuples(PLAIN_SCALAR, PLAIN_SCALAR), min_size=2, max_size=6),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_json_lines_with_the_same_keys_are_copied_together(trial, rows: list, line_end: str):
    """Without one of them being read by itself, as is seen from the calls of the function that does it."""
    calls, plain_values = [], json_records.plain_values
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "BLOCK", 1)
        patch.setattr(json_records, "plain_values", lambda line: calls.append(line) or plain_values(line))
        lines = ['{"id": 0, "note": 1}', *(f'{{"id": {a}, "note":{b}}}' for a, b in rows)]
        usual, careful = trial(line_end.join(lines).encode(), "b1.jsonl")
    assert usual[:3] == careful[:3]
    assert len(usual.rows) == len(lines)
    assert len(calls) == 2, "the first line adds the columns, the second has them all"


JSON_SALT = [b'{"id":1,"note":2}', b"1.0", b"null", b"\xff", *(bytes([byte]) for byte in b'[]{},\n"\\\0 :')]


@settings(SETTINGS, max_examples=150)
@given(
    content=st.binary(max_size=60) | SALTED.map(b"".join) | st.lists(st.sampled_from(JSON_SALT)).map(b"".join),
    name=st.sampled_from(["b1.csv", "b1.json", "b1.jsonl", "b1.csv.gz"]),
    header=st.sampled_from([b"", b"id,note\n", b'{"id":1,"note":2}\n', b'[{"id":1,"note":2}']),
    damaged=st.booleans(),
)
def test_no_file_at_all_brings_the_loader_down(
    project: Project, load, content: bytes, name: str, header: bytes, damaged: bool
):
    file = project.write(f"{ORDERS}/{name}", header + content)
    if damaged and name.endswith(".gz"):
        file.write_bytes(file.read_bytes()[: -len(content) or None] + content)
    code, _, err = load("--replace")
    assert code == (1 if err else 0)
    assert all(line.startswith("error: ") for line in err.splitlines()[:1])
    assert project.query("select count(*) from raw._batches where rows_read <> rows_loaded + rows_rejected") == [(0,)]
    loaded = project.query("select sum(rows_loaded), (select count(*) from raw.shop__orders) from raw._batches")[0]
    assert (loaded[0] or 0) == loaded[1]
    shutil.rmtree(project.data / ORDERS)
