"""bin/feed check: it says what bin/ingest and a build would do, and leaves nothing behind."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from conftest import Database
from own_feed import HEADER, copy_with_own_feed

pytestmark = pytest.mark.long
SALES = "data/incremental/bar/sales"
ROWS = "1,7.50,2026-02-03,a\n2,much,2026-02-04,\n3,5,31.12.2026,a long note\n4,5,1.1.2026,b\n5,6,2026-02-05,c,d\n"


class Till(NamedTuple):
    """A project whose only feed is that of a bar, and its database."""

    root: Path
    database: Database

    def check(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Return the exit code, the output and the errors of bin/feed check, which leaves the database as it was."""
        before = self.state()
        done = self.database.run("bin/feed", "check", *map(str, arguments), root=self.root)
        assert self.state() == before
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def state(self) -> list[Any]:
        """Return everything that a load may change: tables and columns, rows, and the next row id."""
        query = self.database.query
        tables = query("select relname from pg_class where relnamespace = to_regnamespace('raw') order by 1")
        columns = (
            "select attrelid::regclass::text, attname from pg_attribute inner join pg_class as c on c.oid = attrelid"
        )
        found = [tables, query(f"{columns} where relnamespace = to_regnamespace('raw') and attnum > 0 order by 1, 2")]
        if tables:
            for table in ("_batches", "_files", "_rejected_lines", "bar__sales"):
                found.append(query(f"select * from raw.{table} order by 1"))
            found.append(query("select last_value + is_called::int from raw._row_ids"))
        return found


@pytest.fixture(scope="module")
def till(new_database: Callable[[], Database], tmp_path_factory: pytest.TempPathFactory) -> Till:
    """Give the project, with nothing loaded."""
    database = new_database()

    def succeed(*command: str) -> None:
        done = database.run(*command, root=root)
        assert done.returncode == 0, done.stdout + done.stderr

    root = tmp_path_factory.mktemp("till") / "a copy"
    copy_with_own_feed(root, succeed)
    (root / SALES).mkdir(parents=True)
    return Till(root, database)


def test_a_file_is_read_as_a_build_reads_it_and_nothing_stays(till: Till, tmp_path: Path) -> None:
    """First on a database without raw tables; then what is loaded and built is what was said."""
    file = till.root / SALES / "1.csv"
    file.write_text(f"{HEADER}\n{ROWS}")
    code, out, err = till.check(file)
    assert (code, err) == (1, "")
    said = [line.strip() for line in out.splitlines()]
    assert said[0] == "incremental/bar/sales/1.csv: bar.sales (by its path), format: as usual"
    assert said[1:3] == ["5 rows, 1 line rejected", "line 6: the line has 5 fields, the header has 4 (ragged)"]
    assert said[3].split() == ["column", "read", "as", "line", "2"]
    assert [line.split() for line in said[5:9]] == [
        ["sale_id", "text", "1"], ["price", "amount", "7.50"], ["sold_on", "date", "2026-02-03"], ["note", "text", "a"],
    ]  # fmt: skip
    assert said[9:] == [
        "price: 1 of 4 cannot be read as amount, such as 'much' on line 3 (its row is rejected)",
        "sold_on: 2 of 4 cannot be read as date, such as '31.12.2026' on line 4 (their rows are rejected)",
        "note: 1 of 4 is not valid: length(note) < 9, such as 'a long note' on line 4 (it is null)",
    ]
    for command in (["bin/ingest"], ["bin/dbt", "build", "--exclude-resource-type", "test", "unit_test"]):
        done = till.database.run(*command, root=till.root)
        assert done.returncode == 0, done.stdout + done.stderr
    rejected = "select column_name, line_number, delivered_value from marts.rejected_rows order by 2, 1"
    assert till.database.query(rejected) == [
        ("price", 3, "much"), ("note", 4, "a long note"), ("sold_on", 4, "31.12.2026"), ("sold_on", 5, "1.1.2026"),
        (None, 6, "5,6,2026-02-05,c,d"),
    ]  # fmt: skip
    assert till.database.query("select sale_id, price::text, note from marts.fct_bar_sales") == [("1", "7.50", "a")]


def test_bytes_that_are_known_and_a_path_that_has_other_ones(till: Till, tmp_path: Path) -> None:
    good = f"{HEADER}\n9,1,2026-02-03,\n"
    (till.root / SALES / "2.csv").write_text(good)
    assert till.database.run("bin/ingest", root=till.root).returncode == 0
    (tmp_path / "again.csv").write_text(good)
    code, out, _ = till.check(tmp_path / "again.csv", till.root / SALES / "2.csv")
    assert code == 0
    assert out.count("(incremental/bar/sales/2.csv) has these bytes, so nothing would change") == 2
    (till.root / SALES / "2.csv").write_text(good.replace("9,1", "9,2"))
    code, out, _ = till.check(till.root / SALES / "2.csv")
    assert code == 1
    assert "was loaded from this path with other bytes" in out
    assert "bin/ingest --replace bar/sales/2" in out
    assert "everything would load" not in out


def test_a_file_elsewhere_is_of_the_table_that_has_its_columns(till: Till, tmp_path: Path) -> None:
    """In any order, with a new column that isn't kept, and without one that need not be there."""
    file = tmp_path / "export.jsonl"
    file.write_text('{"Sold On": "2026-02-03", "note": null, "price": "3", "Sale ID": "7", "Till": "b"}\n')
    code, out, _ = till.check(file)
    assert code == 0
    assert "export.jsonl: bar.sales (no other table has its columns), format: as usual" in out
    assert "new column till: kept as text, but no model sees it until the source declares it" in out
    assert "missing, or without a value: note" in out
    assert out.endswith("  everything would load\n")
    assert till.check(file, "--feed", "bar", "--table", "sales")[:2] == (
        0,
        out.replace("no other table has its columns", "as --feed and --table say"),
    )


def test_a_declared_format_is_shown_and_expected(till: Till, tmp_path: Path) -> None:
    path = till.root / "dbt/models/staging/bar/_bar__sources.yml"
    text = path.read_text()
    changed = text.replace(
        "meta:\n            current", "meta:\n            format: {delimiter: ';'}\n            current"
    )
    changed = changed.replace("{parse: date,", "{parse: date, format: DD.MM.YYYY,")
    path.write_text(changed)
    try:
        (tmp_path / "a.csv").write_text(
            f"{HEADER.replace(',', ';')}\n1;5;31.12.2026;\n2;5;31/12/26;\n3;5;2026-12-31;\n"
        )
        code, out, _ = till.check(tmp_path / "a.csv")
        assert code == 1
        assert "format: delimiter ';'\n" in out
        assert "  sold_on  date format DD.MM.YYYY  2026-12-31\n" in out
        assert "sold_on: 2 of 3 are not date like 31.12.2026, such as '31/12/26' on line 3 (their rows" in out
        path.write_text(changed.replace("DD.MM.YYYY", "DD.MM"))
        code, out, err = till.check(tmp_path / "a.csv")
        assert (code, out) == (1, "")
        assert "refused: dbt/models/staging/bar/_bar__sources.yml: table sales, column sold_on: `format: DD.MM`" in err
    finally:
        path.write_text(text)


def test_ways_out(till: Till, tmp_path: Path) -> None:
    """Each mistake is named, and costs only its own file."""
    for name, text in (
        ("good", f"{HEADER}\n1,1,2026-02-03,\n"),
        ("near", "sale_id,price,when\n"),
        ("far 2026", "x\n1\n"),
    ):
        (tmp_path / f"{name}.csv").write_text(text)
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(f"{HEADER}\n{ROWS}".encode())[:-9])
    (tmp_path / "half.csv.gz").write_bytes(b"\x1f\x8b\x08\x00cut")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "keys.jsonl").write_text('{"sale_id": "1"}\n')
    stray = till.root / "data/incremental/bar/wine/1.csv"
    stray.parent.mkdir()
    stray.write_text("id\n1\n")
    names = [*sorted(tmp_path.iterdir()), tmp_path, tmp_path / "none.csv", till.root / "Makefile", stray]
    code, out, err = till.check(*names)
    assert code == 1
    assert "good.csv: bar.sales" in out
    assert out.endswith("everything would load\n")
    for said in (
        "near.csv: no declared table has its columns; the nearest is bar.sales, which also needs sold_on, note"
        f" (--feed bar --table sales). To make a feed of it:  bin/feed new near rows {tmp_path}/near.csv\n",
        f"2026.csv: no declared table has its columns. To make a feed of it:  bin/feed new far rows '{tmp_path}/far",
        "cut.csv.gz: Compressed file ended before",
        "half.csv.gz: ",
        "empty.csv, line 1: not a valid header: the file is empty",
        "keys.jsonl: no declared table has its columns; the nearest is bar.sales, which also needs price, sold_on",
        f"{tmp_path}: a folder: name its files",
        "none.csv: there is no such file",
        "Makefile: not a kind of file that can be loaded",
        "not a file of a declared entity: ",
        f"(or: bin/feed new bar wine '{stray}')",
    ):
        assert said in err
    stray.unlink()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--feed", "bra"], "--feed bra: there is no such feed: did you mean bar?"),
        (["--table", "sale"], "--table sale: there is no such table: did you mean sales?"),
        (["--feed", "bar", "--table", "sales"], "file.csv, line 1: no column sale_id, price, sold_on, note"),
    ],
)
def test_options_name_what_is_declared(till: Till, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "file.csv").write_text("id\n1\n")
    code, _, err = till.check(tmp_path / "file.csv", *arguments)
    assert code == 1
    assert f"refused: {said}" in err
