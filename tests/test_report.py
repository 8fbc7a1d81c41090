"""bin/report: the files hold just what the marts hold, and are whole or not there."""

from __future__ import annotations

import contextlib
import datetime
import io
import json
import re
import signal
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet
import pytest
from psycopg2 import sql

from conftest import ROOT, Database, copy_of_project, run_command, wait_until
from granary.project import GranaryError
from granary.reports import export as report

FORMATS = ["csv", "json", "parquet"]

# A mart of what is hard to write. Its rows are not in the order of its grain.
HARD = """
    create schema marts;
    create table marts.hard (
        id text, day date, price_usd numeric(38, 18), amount_usd numeric(18, 2), wide numeric,
        ok boolean, number bigint, at timestamp, at_offset timestamptz, note text
    );
    comment on table marts.hard is 'One row per thing: hard to write. More of it.';
    create unique index on marts.hard (id, day);
    insert into marts.hard values
        ('é', '2026-01-01', null, null, null, null, null, null, null, null),
        ('a', '2026-01-02', 1, 1, 1, false, -1, '2026-01-02', '2026-01-02 00:00+01', 'comma, "quote", \\ and é'),
        ('B', '2026-01-01', 12345678901234567890.123456789012345678, 0.10, 1e40, true, 9223372036854775807,
            '2026-01-01 12:00:00.5', '2026-01-01 12:00:00.000001+00', E'two\\nlines'),
        ('a', '2026-01-01', -0.000000000000000001, -9999999999999999.99, 0.1, true, 0, '2026-01-01', null, '');
"""
HARD_CSV = """\
id,day,price_usd,amount_usd,wide,ok,number,at,at_offset,note
B,2026-01-01,12345678901234567890.123456789012345678,0.10,10000000000000000000000000000000000000000,true,\
9223372036854775807,2026-01-01 12:00:00.5,2026-01-01 12:00:00.000001+00,"two
lines"
a,2026-01-01,-0.000000000000000001,-9999999999999999.99,0.1,true,0,2026-01-01 00:00:00,,""
a,2026-01-02,1.000000000000000000,1.00,1,false,-1,2026-01-02 00:00:00,2026-01-01 23:00:00+00,\
"comma, ""quote"", \\ and é"
é,2026-01-01,,,,,,,,
"""


@pytest.fixture
def hard(database: Database) -> Database:
    """A warehouse with one mart, which is hard to write."""
    database.query(HARD)
    return database


def write(database: Database, folder: Path, *arguments: str, **kwargs: object) -> list[Path]:
    """Run bin/report and return the paths that it prints."""
    done = database.run("bin/report", *arguments, "--output-dir", folder, **kwargs)
    assert (done.returncode, done.stderr) == (0, "")
    paths = [Path(line.rpartition(": ")[0]) for line in done.stdout.splitlines()]
    assert sorted(paths) == sorted(folder.iterdir()), "nothing but the reports"
    return paths


def refused(database: Database, *arguments: str | Path, program: tuple[str | Path, ...] = ("bin/report",)) -> str:
    """Run bin/report, which is to fail, and return its one line."""
    done = database.run(*program, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("error: ").strip()


# -- What the files hold -----------------------------------------------------------------------------------------------


def marts(database: Database) -> list[str]:
    names = [
        n for (n,) in database.query("select table_name from information_schema.tables where table_schema = 'marts'")
    ]
    assert names
    return names


@pytest.mark.parametrize("form", ["csv", "json"])
def test_text_that_is_read_again_equals_the_mart(sample: Database, tmp_path: Path, form: str) -> None:
    names = marts(sample)
    paths = write(sample, tmp_path, *names, "--format", form)
    with contextlib.closing(sample.connect()) as connection, connection.cursor() as cursor:
        for name, path in zip(names, paths, strict=True):
            mart, again = sql.Identifier("marts", name), sql.Identifier(f"again_{name}")
            cursor.execute(sql.SQL("create temporary table {} (like {})").format(again, mart))
            if form == "csv":
                copy = sql.SQL("copy {} from stdin (format csv, header match)").format(again)
                cursor.copy_expert(copy, io.StringIO(path.read_text()))
            else:
                insert = sql.SQL("insert into {} select * from json_populate_recordset(cast(null as {}), %s)")
                cursor.execute(insert.format(again, mart), [path.read_text()])
            for one, other in ((mart, again), (again, mart)):
                cursor.execute(sql.SQL("select * from {} except all select * from {}").format(one, other))
                assert cursor.fetchall() == [], name


def test_parquet_equals_the_mart(sample: Database, tmp_path: Path) -> None:
    names = marts(sample)
    for name, path in zip(names, write(sample, tmp_path, *names, "--format", "parquet"), strict=True):
        written = pyarrow.parquet.read_table(path)
        expected = sample.query(sql.SQL("select * from {}").format(sql.Identifier("marts", name)))
        assert sorted(map(repr, rows_of(written))) == sorted(map(repr, map(in_utc, expected))), name


def rows_of(table: pyarrow.Table) -> list[tuple]:
    return [in_utc(row.values()) for row in table.to_pylist()]


def in_utc(row: object) -> tuple:
    """The row with its times in the one notation of UTC that can be compared as text."""
    return tuple(
        value.astimezone(datetime.timezone.utc) if isinstance(value, datetime.datetime) and value.tzinfo else value
        for value in row
    )


def test_csv_is_quoted_ordered_and_tells_null_from_empty(hard: Database, tmp_path: Path) -> None:
    (path,) = write(hard, tmp_path, "hard")
    assert path.read_text() == HARD_CSV


def test_no_text_for_a_spreadsheet_is_a_formula(database: Database, tmp_path: Path) -> None:
    database.query("create schema marts")
    database.query("""
        create table marts.risky as
        select *
        from (values ('=1', -1.5), ('+1', 1), ('-1', 2), ('@a', 3), (e'\\tb', 4), ('a=1', 5)) as risky (name, amount)
    """)
    (path,) = write(database, tmp_path, "risky", "--format", "excel")
    assert path.suffix == ".csv"
    assert set(path.read_text().splitlines()[1:]) == {"'+1,1", "'-1,2", "'=1,-1.5", "'@a,3", "'\tb,4", "a=1,5"}


def test_json_has_one_object_per_line_and_exact_numbers(hard: Database, tmp_path: Path) -> None:
    (path,) = write(hard, tmp_path, "hard", "--format", "json")
    first, *lines, last = path.read_text().splitlines()
    assert (first, last, len(lines)) == ("[", "]", 4)
    assert all(json.loads(line.removesuffix(",")) for line in lines)
    rows = json.loads(path.read_text(), parse_float=Decimal)
    assert rows[0] == {
        "id": "B",
        "day": "2026-01-01",
        "price_usd": Decimal("12345678901234567890.123456789012345678"),
        "amount_usd": Decimal("0.10"),
        "wide": 10**40,
        "ok": True,
        "number": 9223372036854775807,
        "at": "2026-01-01T12:00:00.5",
        "at_offset": "2026-01-01T12:00:00.000001+00:00",
        "note": "two\nlines",
    }
    assert set(list(rows[3].values())[2:]) == {None}


def test_parquet_has_the_types_of_the_mart(hard: Database, tmp_path: Path) -> None:
    (path,) = write(hard, tmp_path, "hard", "--format", "parquet")
    table = pyarrow.parquet.read_table(path)
    types = "string date32[day] decimal128(38, 18) decimal128(18, 2) string bool int64 timestamp[us]"
    assert " ".join(map(str, table.schema.types)) == f"{types} timestamp[us, tz=UTC] string"
    query = 'select * from marts.hard order by id collate "C", day'
    expected = [(*row[:4], None if row[4] is None else f"{row[4]:f}", *row[5:]) for row in hard.query(query)]
    assert rows_of(table) == list(map(in_utc, expected))


@pytest.mark.parametrize("form", FORMATS)
def test_a_mart_without_rows_is_written_too(hard: Database, tmp_path: Path, form: str) -> None:
    hard.query("delete from marts.hard")
    (path,) = write(hard, tmp_path, "hard", "--format", form)
    rows = {
        "csv": lambda: path.read_text().splitlines()[1:],
        "json": lambda: json.loads(path.read_text()),
        "parquet": lambda: pyarrow.parquet.read_table(path).to_pylist(),
    }
    assert rows[form]() == []


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("index", ["an index", "no index"])
def test_the_same_rows_give_the_same_bytes(hard: Database, tmp_path: Path, form: str, index: str) -> None:
    if index == "no index":
        hard.query("drop index marts.hard_id_day_idx")
    (first,) = write(hard, tmp_path / "first", "hard", "--format", form)
    hard.query("create table rows as select * from marts.hard order by note, number")
    hard.query("delete from marts.hard")
    hard.query("insert into marts.hard select * from rows")
    (second,) = write(hard, tmp_path / "second", "hard", "--format", form)
    assert first.read_bytes() == second.read_bytes()


def test_many_rows_are_written_in_several_row_groups(hard: Database, tmp_path: Path) -> None:
    hard.query("insert into marts.hard (id, day) select number, '2026-01-01' from generate_series(1, 50000) as number")
    (path,) = write(hard, tmp_path, "hard", "--format", "parquet")
    file = pyarrow.parquet.ParquetFile(path)
    assert (file.metadata.num_rows, file.metadata.num_row_groups) == (50_004, 3)
    assert len(set(file.read().column("id").to_pylist())) == 50_003


def test_a_report_that_meets_a_build_has_all_rows(hard: Database, tmp_path: Path) -> None:
    """A build puts a new table in place. Who has looked before, and reads afterwards, would see none of its rows."""
    waiting = "select count(*) from pg_locks where not granted and relation = 'marts.hard'::regclass"
    with contextlib.closing(hard.connect()) as build, build, build.cursor() as cursor:
        cursor.execute("create table marts.new as select * from marts.hard")
        cursor.execute("alter table marts.hard rename to old")
        with hard.start("bin/report", "hard", "--output-dir", tmp_path) as reader:
            wait_until(lambda: hard.query(waiting) != [(0,)], reader)
            cursor.execute("alter table marts.new rename to hard")
            build.commit()
            said = reader.communicate(timeout=60)[0]
    assert ": 4 rows, " in said


# -- The command -------------------------------------------------------------------------------------------------------


def test_reports_lie_below_the_root_under_the_mart_and_the_date(hard: Database, tmp_path: Path) -> None:
    clone = copy_of_project(tmp_path / "a clone")
    before = datetime.datetime.now(datetime.timezone.utc).date()
    done = run_command("bin/report", "hard", root=clone, env=hard.environment, cwd="/")
    after = datetime.datetime.now(datetime.timezone.utc).date()
    (path,) = (clone / "output" / "reports").iterdir()
    assert path.name in {f"hard_{day}.csv" for day in (before, after)}
    assert done.stdout == f"{path}: 4 rows, {path.stat().st_size:,} bytes\n"
    done = run_command("bin/report", "hard", "--date", "2026-02-03", root=clone, env=hard.environment, cwd="/")
    assert (path.parent / "hard_2026-02-03.csv").read_bytes() == path.read_bytes()


def test_the_second_copy_has_reports_of_its_own(hard: Database, tmp_path: Path) -> None:
    hard.query("create schema dev_marts")
    hard.query("create table dev_marts.hard as select * from marts.hard limit 1")
    write(hard, tmp_path, "hard", "--date", "2026-02-03")
    done = hard.run(
        "bin/report", "hard", "--date", "2026-02-03", "--output-dir", tmp_path, env={"GRANARY_SCHEMA_PREFIX": "dev_"}
    )
    assert ": 1 row, " in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"hard_2026-02-03.csv", "dev_hard_2026-02-03.csv"}


def test_the_list_has_every_mart_with_its_rows_and_what_a_row_is(sample: Database) -> None:
    done = sample.run("bin/report", "--list")
    assert (done.returncode, done.stderr) == (0, "")
    _, _, *lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == sorted(marts(sample))
    for line in lines:
        name, rows, sentence = line.split(maxsplit=2)
        assert sample.query(sql.SQL("select count(*) from {}").format(sql.Identifier("marts", name))) == [
            (int(rows.replace(",", "")),)
        ]
        assert re.fullmatch(r"(One row per|A single row) [^.]+", sentence)


@pytest.mark.feeds("shop", "tickets")
def test_an_unknown_mart_is_answered_with_similar_ones(sample: Database) -> None:
    assert refused(sample, "fct_weekly_sale") == (
        "there is no mart fct_weekly_sale; did you mean fct_weekly_sales or fct_daily_sales or fct_sales?"
        " bin/report --list shows all of them"
    )
    assert refused(sample, "zebra") == "there is no mart zebra; bin/report --list shows all of them"


@pytest.mark.feeds("tickets")
def test_a_mart_that_is_not_built_is_said_to_be_so(database: Database) -> None:
    assert refused(database, "fct_orders") == "nothing is built in the schema marts yet: bin/dbt build"
    assert refused(database, "--list") == "nothing is built in the schema marts yet: bin/dbt build"
    database.query(HARD)
    assert refused(database, "fct_orders") == "fct_orders isn't built yet: bin/dbt build --select +fct_orders"


def test_scheduled_marts_are_those_marked_for_export_and_have_rows_once_their_feed_is_loaded(
    hard: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marts = {name: SimpleNamespace(feed="own", meta={"export": name == "hard"}) for name in ("hard", "other")}
    monkeypatch.setattr(report.declared, "marts", lambda: marts)
    monkeypatch.setattr("sys.argv", ["", "--scheduled", "--date", "2026-02-03", "--output-dir", str(tmp_path)])
    hard.query("create schema raw; create table raw._batches (feed text, status text)")
    assert report.main() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["hard_2026-02-03.csv"]
    hard.query("delete from marts.hard")
    assert report.main() == 0, "nothing was delivered, so there is nothing to report"
    hard.query("insert into raw._batches values ('own', 'loaded')")
    with pytest.raises(GranaryError, match=r"^hard has no rows, although batches of own are loaded$"):
        report.main()
    del marts["hard"]
    assert report.main() == 0
    assert capsys.readouterr().out.endswith("no mart has config.meta.export: true, so there is no report to write\n")


@pytest.mark.parametrize("text", ["2026-02-30", "20260203", "2026-2-3", "today"])
def test_a_bad_date_is_refused(text: str) -> None:
    done = run_command("bin/report", "fct_orders", "--date", text)
    assert (done.returncode, done.stderr) == (1, f"error: invalid --date {text}: write it like 2026-02-03\n")


@pytest.mark.parametrize("arguments", [[], ["--list", "fct_orders"]])
def test_marts_or_the_list_are_to_be_named(arguments: list[str]) -> None:
    done = run_command("bin/report", *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("error: name the marts to report, or use --scheduled or --list")


def test_parquet_without_pyarrow_is_refused_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("sys.argv", ["bin/report", "fct_orders", "--format", "parquet"])
    with pytest.raises(GranaryError, match=r"needs pyarrow.*pip install -r requirements/extract\.txt"):
        report.main()


# -- Failures ----------------------------------------------------------------------------------------------------------


def test_a_place_that_can_not_be_written_is_named(hard: Database, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place, reason in (("file", "a folder on the way is a file"), ("file/below", "Not a directory")):
        said = refused(hard, "hard", "--date", "2026-02-03", "--output-dir", tmp_path / place)
        path = tmp_path / place / "hard_2026-02-03.csv"
        assert said == f"can't write {path}: {reason}; choose another place with --output-dir"


# bin/report whose files can't grow beyond 100 KiB, which is much like a full disk. A shell sets the limit, because
# preexec_fn can wait forever where the tests' process has threads.
LIMITED = ("bash", "-c", 'ulimit -f 100 && exec "$@"', "bash", ROOT / "bin" / "report")


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_leaves_the_former_report_and_nothing_else(hard: Database, tmp_path: Path, form: str) -> None:
    name = f"hard_2026-02-03.{form}"
    (tmp_path / name).write_text("the former one")
    hard.query(
        "insert into marts.hard (id, day, note) select n, '2026-01-01', md5(n::text) from generate_series(1, 9999) n"
    )
    arguments = ["hard", "--date", "2026-02-03", "--format", form, "--output-dir", tmp_path]
    said = refused(hard, *arguments, program=LIMITED)
    assert said == f"can't write {tmp_path / name}: File too large; choose another place with --output-dir"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {name: "the former one"}


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(("sign", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_report_leaves_nothing(
    hard: Database, tmp_path: Path, form: str, sign: signal.Signals, code: int
) -> None:
    hard.query("insert into marts.hard (id, day) select number, '2026-01-01' from generate_series(1, 200000) as number")
    with hard.start("bin/report", "hard", "--format", form, "--output-dir", tmp_path) as writer:
        wait_until(lambda: list(tmp_path.iterdir()), writer)
        writer.send_signal(sign)
        assert writer.communicate(timeout=60) == ("", "")
    assert writer.returncode == code
    assert list(tmp_path.iterdir()) == []
