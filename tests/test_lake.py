"""The lake has what the ledger has: each batch once, as it was delivered, and nothing half."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet
import pytest

from conftest import Database, copy_of_project, free_port, start_command, wait_until
from granary.lake import LEDGER
from own_feed import HEADER, copy_with_own_feed

pytestmark = pytest.mark.long
ODD = "a b", "", "\\N", 'say "no"', "two\nlines", "a,b", "ß½", "'"


class Warehouse:
    """A copy of the project whose only feed is one of its own, with a database and a lake."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root, self.database, self.place = root, database, str(root / "the lake")
        copy_with_own_feed(root, self.run)

    def run(self, *command: str, **variables: str) -> str:
        """Run a command that has to succeed, and return what it prints."""
        done = self.database.run(*command, root=self.root, env={"GRANARY_LAKE": self.place} | variables)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deliver(self, name: str, text: str, *options: str) -> None:
        """Load a file."""
        path = self.root / "data" / "incremental" / "bar" / "sales" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        self.run("bin/ingest", *options, "bar/sales")

    def files(self) -> dict[str, tuple[int, int]]:
        """Return the files of the lake with their inode and the time of their last change."""
        found = [path for path in Path(self.place).rglob("*") if path.is_file()]
        return {str(path.relative_to(self.place)): (path.stat().st_ino, path.stat().st_mtime_ns) for path in found}

    def rows(self, table: str = "bar__sales") -> list[tuple]:
        """Return the rows of a table, in order, that the ledger counts."""
        files, root = fsspec.core.url_to_fs(self.place)
        batches = self.read(files, f"{root}/raw/_batches/all.parquet")
        known = {batch["batch_id"] for batch in batches}
        rows = [row for path in files.glob(f"{root}/raw/{table}/*.parquet") for row in self.read(files, path)]
        return sorted(tuple(row.values()) for row in rows if row["_batch_id"] in known)

    @staticmethod
    def read(files: Any, path: str) -> list[dict[str, Any]]:
        """Return the rows of a file."""
        with files.open(path) as file:
            return pyarrow.parquet.read_table(file).to_pylist()

    def delivered(self) -> list[tuple]:
        """Return the rows that PostgreSQL has."""
        return self.database.query("select * from raw.bar__sales order by 1, 2")


@pytest.fixture
def warehouse(tmp_path: Path, database: Database) -> Warehouse:
    """A project with three batches."""
    made = Warehouse(tmp_path / "a copy", database)
    odd = "".join(f'{number},1,2026-03-01,"{text.replace(chr(34), 2 * chr(34))}"\n' for number, text in enumerate(ODD))
    made.deliver("1", f"{HEADER}\n{odd}9,1,2026-03-01,\n")
    made.deliver("2", f"{HEADER}\n2,1,2026-03-01,a\nragged\n")
    (jsonl := made.root / "data" / "incremental" / "bar" / "sales" / "3.jsonl").write_text(
        '{"sale_id": "4", "price": null, "sold_on": ""}\n'
    )
    made.run("bin/ingest")
    assert jsonl.exists()
    return made


def test_a_batch_is_exported_once_and_as_it_is(warehouse: Warehouse) -> None:
    assert "lake: 3 new batches (11 rows, " in warehouse.run("bin/lake")
    assert warehouse.rows() == warehouse.delivered()
    assert {row[5] for row in warehouse.rows()} >= {"", None, "two\nlines"}, "null and '' are told apart"
    before = warehouse.files()
    assert "lake: 0 new batches (0 rows, " in warehouse.run("bin/lake")
    after = warehouse.files()
    assert {name for name in before if before[name] != after[name]} == {
        "raw/bar__sales/batch_0.parquet",
        *(f"raw/{name}/all.parquet" for name in LEDGER),
    }
    warehouse.deliver("5", f"{HEADER},colour\n5,1,2026-03-01,,red\n")
    assert "lake: 1 new batches (1 row, " in warehouse.run("bin/lake")
    assert [row[-1] for row in warehouse.rows() if len(row) == 7] == ["red"]
    columns = pyarrow.parquet.read_schema(Path(warehouse.place, "raw", "bar__sales", "batch_0.parquet")).names
    assert columns[-1] == "colour", "every engine knows the new column of batches that lack it"


def test_replaced_batches_and_those_that_are_gone_follow(warehouse: Warehouse) -> None:
    warehouse.run("bin/lake")
    warehouse.deliver("2", f"{HEADER}\n2,2,2026-03-01,b\n", "--replace")
    warehouse.run("bin/lake")
    assert warehouse.rows() == warehouse.delivered()
    ledger = warehouse.read(fsspec.filesystem("file"), f"{warehouse.place}/raw/_batches/all.parquet")
    assert [row["status"] for row in ledger] == ["loaded", "replaced", "loaded", "loaded"]
    warehouse.database.query("drop table raw.bar__sales; delete from raw._files; delete from raw._rejected_lines")
    warehouse.database.query("delete from raw._batches")
    warehouse.deliver("1", f"{HEADER}\n1,1,2026-03-01,another ledger\n")
    assert "2 files deleted" in warehouse.run("bin/lake")
    assert warehouse.rows() == warehouse.delivered()


def test_a_killed_export_leaves_nothing_half(warehouse: Warehouse) -> None:
    warehouse.run("bin/lake")
    before = warehouse.rows()
    for batch in ("6", "7"):
        rows = "".join(f"{number},1,2026-03-01,{batch}\n" for number in range(300_000))
        warehouse.deliver(batch, f"{HEADER}\n{rows}")
    environment = warehouse.database.environment | {"GRANARY_LAKE": warehouse.place}
    folder = Path(warehouse.place, "raw", "bar__sales")
    for seen in (".batch_", "batch_4.parquet"):
        command = ("/bin/sh", "-c", f"exec '{warehouse.root}/bin/lake'")
        with start_command(*command, env=environment, start_new_session=True) as export:
            wait_until(lambda seen=seen: any(path.name.startswith(seen) for path in folder.iterdir()), export)
            os.killpg(export.pid, signal.SIGKILL)
        assert warehouse.rows() == before
    warehouse.run("bin/lake")
    assert warehouse.rows() == warehouse.delivered()
    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_an_object_store_can_hold_the_lake(warehouse: Warehouse, tmp_path: Path) -> None:
    port = free_port()
    store = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    with (
        start_command(warehouse.root / ".venv/bin/moto_server", "-H", "127.0.0.1", "-p", str(port)) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in store.items():
            patch.setenv(name, value)
        files = fsspec.filesystem("s3", skip_instance_cache=True)
        wait_until(lambda: exists(files, "lakes"), server)
        warehouse.place = "s3://lakes/of granary"
        for _ in range(2):
            warehouse.run("bin/lake", **store)
            files.invalidate_cache()
            assert warehouse.rows() == warehouse.delivered()


def exists(files: Any, bucket: str) -> bool:
    """Return whether a bucket could be made."""
    try:
        files.mkdir(bucket)
    except OSError:
        return False
    return True


def test_a_place_that_can_not_be_written_is_named(warehouse: Warehouse) -> None:
    for place, said in (("Makefile/lake", "Not a directory"), ("nowhere://lake", "Protocol not known: nowhere")):
        done = warehouse.database.run("bin/lake", root=warehouse.root, env={"GRANARY_LAKE": place})
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: can't write to the lake ")
        assert said in done.stderr


def test_without_anything_loaded_it_says_so(database: Database, tmp_path: Path) -> None:
    done = database.run("bin/lake", root=copy_of_project(tmp_path / "a copy"))
    assert (done.returncode, done.stderr) == (1, "error: nothing was loaded yet: run bin/ingest first\n")
