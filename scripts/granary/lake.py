"""Export what was delivered to the lake: Parquet files from which other engines build the same models.

Only what is new is written: a file per batch and landing table, raw/<table>/batch_<id>.parquet, whose delivered columns
are text, and the ledger as a whole, because a batch may be replaced or accepted at any time. What belongs to batches
that are no longer in the ledger is deleted. Each file appears whole or not at all, and a batch counts once the ledger,
which is written last, names it.

The lake is GRANARY_LAKE: a folder (default: lake), or an object store such as s3://bucket/prefix.
"""

from __future__ import annotations

import contextlib
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from granary import engines, project
from granary.project import GranaryError, check_packages, replacing, run_main
from granary.server.arrow import snapshot
from granary.server.connection import connect
from granary.text import counted

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset

LEDGER = {  # what the core reads, in the order in which it is written; builds are each engine's own
    "_rejected_lines": "select * from raw._rejected_lines order by batch_id, line_number",
    "_accepted_batches": "select * from raw._accepted_batches order by batch_id",
    "_replayed_values": "select * from raw._replayed_values order by rejection_id",
    "_brands": "select * from raw._brands order by feed, entity, kind, place",
    "_last_removed_batch": "select last_value from raw._last_removed_batch",
    "_batches": "select * from raw._batches order by batch_id",
}
TABLES = """
    select table_name from information_schema.tables
    where table_schema = 'raw' and table_type = 'BASE TABLE' and not starts_with(table_name, '_')
    order by 1
"""
BATCHES = """
    select feed || '__' || entity as landing_table, batch_id, finished_at
    from raw._batches
    where rows_loaded > 0
    order by batch_id
"""
FILE = "batch_{}.parquet"
COLUMNS = FILE.format(0)  # without rows: from it, engines know all columns, even of a table to which nothing has come


def main() -> None:
    """Export what is new."""
    ArgumentParser("bin/lake", description=__doc__, formatter_class=RawDescriptionHelpFormatter).parse_args()
    project.load_env()
    update()


def update() -> None:
    """Export what is new, and say what that was."""
    check_packages("engines", None, "adbc_driver_postgresql", "fsspec", "pyarrow")
    started, place = time.monotonic(), engines.lake()
    with writing(place) as lake, only_one(place), snapshot() as cursor:
        export(cursor, lake)
    deleted = f", {counted(lake.deleted, 'file')} deleted" if lake.deleted else ""
    new = f"{lake.batches:,} new batches ({counted(lake.rows, 'row')}, {lake.size / 1e6:.1f} MB written{deleted})"
    print(f"lake: {new} in {time.monotonic() - started:.1f} s, {lake.place}", flush=True)


@contextlib.contextmanager
def writing(place: str, folder: str = "raw") -> Iterator[Lake]:
    """Yield a folder of a lake. Raises GranaryError if it can't be written."""
    try:
        yield Lake(place, folder)
    except Exception as error:
        # Of the folder, of fsspec about the address, or of the object store, whose errors have no class in common.
        if isinstance(error, (OSError, ImportError, ValueError)) or type(error).__module__.startswith("botocore"):
            raise GranaryError(f"can't write to the lake {place}: {error} (GRANARY_LAKE names the place)") from None
        raise


class Lake:
    """A folder of the lake, here or in an object store, with a count of what is written there."""

    def __init__(self, place: str, folder: str = "raw") -> None:
        import fsspec

        self.place = place
        self.files, root = fsspec.core.url_to_fs(place)
        self.root = f"{root}/{folder}"
        self.is_local = "file" in (protocol := self.files.protocol) or protocol == "file"
        self.batches = self.rows = self.size = self.deleted = 0

    def names(self, folder: str) -> set[str]:
        """Return the names of what is in a table's folder, or in the folder of all."""
        path = f"{self.root}/{folder}".rstrip("/")
        found = self.files.ls(path, detail=False) if self.files.exists(path) else []
        return {path.rstrip("/").rpartition("/")[2] for path in found}

    def read(self, table: str, columns: list[str]) -> pa.Table | None:
        """Return columns of a table of the ledger, if there is one."""
        import pyarrow.parquet

        path = f"{self.root}/{table}/all.parquet"
        if not self.files.exists(path):
            return None
        with self.files.open(path) as file:
            return pyarrow.parquet.read_table(file, columns=columns)

    def dataset(self, table: str, name: str) -> pyarrow.dataset.Dataset:
        """Return a file to be read piece by piece."""
        import pyarrow.dataset

        return pyarrow.dataset.dataset(f"{self.root}/{table}/{name}", filesystem=self.files)

    def write(self, table: str, name: str, reader: pa.RecordBatchReader) -> int:
        """Write a file, and return the number of its rows."""
        import pyarrow.parquet

        rows = 0
        schema = reader.schema.remove_metadata()
        with self.replacing(f"{self.root}/{table}/{name}") as file:
            with pyarrow.parquet.ParquetWriter(file, schema, compression="zstd") as writer:
                for batch in reader:
                    writer.write_batch(batch.replace_schema_metadata(None))
                    rows += batch.num_rows
            self.size += file.tell()
        return rows

    @contextlib.contextmanager
    def replacing(self, path: str) -> Iterator[Any]:
        """Yield a file that appears whole, in place of the one before, once the block has ended well."""
        if self.is_local:
            with replacing(Path(path)) as file:
                yield file
        else:
            with self.files.transaction, self.files.open(path, "wb") as file:
                yield file

    def delete(self, table: str, name: str) -> None:
        """Delete a file."""
        self.files.rm_file(f"{self.root}/{table}/{name}")
        self.deleted += 1


@contextlib.contextmanager
def only_one(place: str) -> Iterator[None]:
    """Wait until no other export to this lake is going on, and let none begin."""
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("select pg_advisory_xact_lock(hashtext('lake ' || %s))", [place])
        yield


def export(cursor: Any, lake: Lake) -> None:
    """Write what the lake doesn't have, delete what the ledger doesn't have any more, and write the ledger."""
    cursor.execute(TABLES)
    tables = [name for (name,) in cursor.fetchall()]
    if not tables:
        raise GranaryError("nothing was loaded yet: run bin/ingest first")
    cursor.execute(BATCHES)
    batches: dict[str, dict[int, Any]] = {table: {} for table in tables}
    for table, batch, finished_at in cursor.fetchall():
        if table in batches:
            batches[table][batch] = finished_at
    known = lake.read("_batches", ["batch_id", "finished_at"])
    exported = dict(zip(*(column.to_pylist() for column in known.columns), strict=True)) if known else {}
    current = {batch: finished_at for found in batches.values() for batch, finished_at in found.items()}
    if any(current.get(batch, finished_at) != finished_at for batch, finished_at in exported.items()):
        lake.delete("_batches", "all.parquet")  # it is of another ledger, with other batches of these numbers
        exported = {}
    for table in tables:
        export_table(cursor, lake, table, batches[table], exported)
    for table, query in LEDGER.items():
        cursor.execute(query)
        lake.write(table, "all.parquet", cursor.fetch_record_batch())
    for table in sorted(lake.names("") - LEDGER.keys()):
        kept = {COLUMNS, *map(FILE.format, batches[table])} if table in batches else set()
        for name in sorted(lake.names(table) - kept):  # also what a killed export has left
            lake.delete(table, name)


def export_table(cursor: Any, lake: Lake, table: str, batches: dict[int, Any], exported: dict[int, Any]) -> None:
    """Write the batches of a landing table that aren't exported yet."""
    quoted, names = '"' + table.replace('"', '""') + '"', lake.names(table)
    cursor.execute(f"select * from raw.{quoted} where false")
    lake.write(table, COLUMNS, cursor.fetch_record_batch())
    for batch in batches:
        name = FILE.format(batch)
        if name not in names or batch not in exported:
            cursor.execute(f"select * from raw.{quoted} where _batch_id = {batch} order by _row_id")
            lake.rows += lake.write(table, name, cursor.fetch_record_batch())
            lake.batches += 1


if __name__ == "__main__":
    run_main(main)
