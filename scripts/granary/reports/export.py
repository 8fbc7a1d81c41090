"""Write marts to files, one each: output/reports/<mart>_<date>.<format> in the project.

    bin/report load_audit
    bin/report load_audit rejected_rows --format parquet
    bin/report --scheduled
    bin/report --list

A report holds all rows of its mart, in the order of its grain: the same rows give the same bytes. All marts of one call
are read at the same moment. The date is only part of the name and filters nothing. A report of the same name is
replaced once the new one is complete.

  csv      with a header; null is empty, and empty text is ""
  json     an array with one object per line; numbers keep all their digits
  excel    csv in which no text is a formula: one that begins with = + - @ gets an apostrophe in front
  parquet  numbers are decimals of the mart's precision (needs requirements/extract.txt)

With GRANARY_SCHEMA_PREFIX, the marts are those of the second copy, and the names of their files begin with the prefix.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import difflib
import re
import shutil
import signal
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import psycopg2
from psycopg2 import sql

from granary import declared
from granary.project import ROOT, GranaryError, check_packages, load_env, marts_schema, run_main, schema_prefix, writing
from granary.reports import query
from granary.server.connection import connect
from granary.text import counted, print_table, read_day

try:
    import pyarrow
    import pyarrow.parquet
except ImportError:  # it is optional: requirements/extract.txt
    pyarrow = None

REPORTS = ROOT / "output" / "reports"
FORMULA = r"^[=+@\t\r\n-]"  # how a text begins that a spreadsheet takes for a formula
ROW_GROUP = 20_000  # rows of a Parquet file that are in memory at once


@dataclass(frozen=True)
class Column:
    """A column of a mart, with its type as PostgreSQL spells it."""

    name: str
    type: str
    is_collated: bool

    def expression(self, *, as_text: bool = False) -> sql.Composed:
        """Return the column for a query."""
        text = "cast(mart.{0} as text) as {0}" if as_text else "mart.{0}"
        return sql.SQL(text).format(sql.Identifier(self.name))

    def harmless(self) -> sql.Composed:
        """Return the column for a query, with an apostrophe before each text that a spreadsheet takes for a formula."""
        text = "regexp_replace(mart.{0}, {1}, {2}) as {0}"
        return sql.SQL(text).format(sql.Identifier(self.name), sql.Literal(FORMULA), sql.Literal(r"'\&"))


@dataclass(frozen=True)
class Mart:
    """A mart as it stands in the database."""

    table: sql.Identifier
    columns: list[Column]
    grain: list[Column]

    def select(self, *expressions: sql.Composable) -> sql.Composed:
        """Return a query of all rows in the order of the grain; text by code points, whatever the server's language."""
        code_points, as_is = sql.SQL(' collate "C"'), sql.SQL("")
        order = [column.expression() + (code_points if column.is_collated else as_is) for column in self.grain]
        comma = sql.SQL(", ")
        query = sql.SQL("select {} from {} as mart order by {}")
        return query.format(comma.join(expressions), self.table, comma.join(order))


def main() -> int:
    """Write the reports that the command line names, or list the marts."""
    options = parse_arguments()
    load_env()
    sys.stdout.reconfigure(errors="replace")  # for terminals that know no lines
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # takes away what is unfinished, as Ctrl-C does
    if options.scheduled:
        options.marts = [name for name, mart in declared.marts().items() if mart.meta.get("export")]
    if not options.marts and not options.list:
        print("no mart has config.meta.export: true, so there is no report to write")
        return 0
    try:
        with contextlib.closing(connect()) as connection:
            connection.set_client_encoding("UTF8")
            built = marts_in(connection)
            if options.list:
                list_marts(connection, built)
                return 0
            for name in options.marts:
                check_mart(name, built)
            open_snapshot(connection, options.marts)
            if options.scheduled:
                check_rows(connection, options.marts)
            for name in options.marts:
                write_report(connection, name, options)
    except psycopg2.Error as error:
        raise GranaryError(f"the marts can't be read: {str(error).strip()}") from None
    return 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("bin/report", description=__doc__, formatter_class=as_written)
    parser.add_argument("marts", metavar="MART", nargs="*", help="a table of the schema marts")
    date_help = "the date in the file's name; it filters nothing (default: today, in UTC)"
    parser.add_argument("--date", metavar="YYYY-MM-DD", help=date_help)
    parser.add_argument("--format", choices=WRITERS, default="csv", help="default: csv")
    parser.add_argument("--list", action="store_true", help="list the marts, with their rows and what a row is")
    parser.add_argument("--output-dir", metavar="D", type=Path, default=REPORTS, help="default: output/reports")
    scheduled_help = "write the marts that have config.meta.export: true; fail if one has no rows though its feed has"
    parser.add_argument("--scheduled", action="store_true", help=scheduled_help)
    options = parser.parse_args()
    if [bool(options.marts), options.list, options.scheduled].count(True) != 1:
        raise GranaryError("name the marts to report, or use --scheduled or --list; see bin/report --help")
    options.marts = list(dict.fromkeys(options.marts))
    if options.date and not read_day(options.date):
        raise GranaryError(f"invalid --date {options.date}: write it like 2026-02-03")
    options.date = options.date or datetime.datetime.now(datetime.timezone.utc).date()
    if options.format == "parquet":
        check_packages("extract", None, "pyarrow")
    return options


# -- The marts ---------------------------------------------------------------------------------------------------------


def marts_in(connection: Any) -> dict[str, str]:
    """Return the marts that are built, each with its description."""
    with connection, connection.cursor() as cursor:
        built = {row["name"]: row["description"] for row in query(cursor, "marts", [marts_schema()])}
    if not built:
        raise GranaryError(f"nothing is built in the schema {marts_schema()} yet: bin/dbt build")
    return built


def check_mart(name: str, built: dict[str, Any]) -> None:
    """Raise GranaryError if a mart isn't built, or is none."""
    if name in built:
        return
    in_project = {path.stem for path in (ROOT / "dbt" / "models" / "marts").rglob("*.sql")}
    if name in in_project:
        raise GranaryError(f"{name} isn't built yet: bin/dbt build --select +{name}")
    close = difflib.get_close_matches(name, sorted(in_project.union(built)))
    meant = f"did you mean {' or '.join(close)}? " if close else ""
    raise GranaryError(f"there is no mart {name}; {meant}bin/report --list shows all of them")


def check_rows(connection: Any, names: list[str]) -> None:
    """Raise GranaryError if a mart has no rows, although batches of its feed are loaded."""
    delivered = "exists (select from raw._batches where feed = %s and status = 'loaded')"
    query = sql.SQL(f"select {delivered} and not exists (select from {{}})")
    for name in names:
        feed = declared.marts()[name].feed
        with connection.cursor() as cursor:
            cursor.execute(query.format(sql.Identifier(marts_schema(), name)), [feed])
            if cursor.fetchone() == (True,):
                raise GranaryError(f"{name} has no rows, although batches of {feed} are loaded")


def list_marts(connection: Any, built: dict[str, str]) -> None:
    """Print each mart with its number of rows and the first sentence of its description, cut to fit a terminal."""
    rows, room = [], shutil.get_terminal_size().columns - 40 if sys.stdout.isatty() else sys.maxsize
    with connection, connection.cursor() as cursor:
        for name, description in built.items():
            cursor.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(marts_schema(), name)))
            sentence = " ".join(description.split()).partition(". ")[0].removesuffix(".")
            rows.append([name, cursor.fetchone()[0], textwrap.shorten(sentence, max(room, 20), placeholder=" ...")])
    print_table(["mart", "rows", "what it holds"], rows)


def open_snapshot(connection: Any, names: list[str]) -> None:
    """Begin the transaction in which everything is read.

    A build puts a new table in the place of the old one. To a snapshot from before, the new one is empty: so the tables
    are held fast first, and seen afterwards.
    """
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    tables = sql.SQL(", ").join(sql.Identifier(marts_schema(), name) for name in names)
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("lock table {} in access share mode").format(tables))
        cursor.execute("set local datestyle = 'ISO'")


def describe(connection: Any, name: str) -> Mart:
    """Return a mart with its columns and its grain: those of its key or unique index, or all where there is none."""
    table = sql.Identifier(marts_schema(), name)
    with connection.cursor() as cursor:
        rows = [row for row in query(cursor, "mart_columns", [marts_schema()]) if row["mart"] == name]
    columns = [Column(row["name"], row["type"], row["is_collated"]) for row in rows]
    places = {row["place"]: column for row, column in zip(rows, columns, strict=True) if row["place"] is not None}
    return Mart(table, columns, [places[place] for place in sorted(places)] or columns)


# -- The files ---------------------------------------------------------------------------------------------------------


def write_report(connection: Any, name: str, options: argparse.Namespace) -> None:
    """Write the report of one mart and say so."""
    extension = "csv" if options.format == "excel" else options.format
    path = options.output_dir.absolute() / f"{schema_prefix()}{name}_{options.date}.{extension}"
    with writing(path, "--output-dir") as file:
        count = WRITERS[options.format](connection, describe(connection, name), file)
    print(f"{path}: {counted(count, 'row')}, {path.stat().st_size:,} bytes", flush=True)


def write_csv(connection: Any, mart: Mart, file: BinaryIO, *, without_formulas: bool = False) -> int:
    """Write a mart as CSV; return the number of rows. PostgreSQL's own t and f become true and false."""
    expressions = [
        column.harmless()
        if without_formulas and column.type.startswith(("text", "character"))
        else column.expression(as_text=column.type == "boolean")
        for column in mart.columns
    ]
    with connection.cursor() as cursor:
        cursor.copy_expert(sql.SQL("copy ({}) to stdout (format csv, header)").format(mart.select(*expressions)), file)
        return cursor.rowcount


def write_excel(connection: Any, mart: Mart, file: BinaryIO) -> int:
    """Write a mart as CSV in which no text is a formula for spreadsheets; return the number of rows."""
    return write_csv(connection, mart, file, without_formulas=True)


def write_json(connection: Any, mart: Mart, file: BinaryIO) -> int:
    """Write a mart as a JSON array; return the number of rows. PostgreSQL writes the objects, so numbers are exact."""
    count = 0
    with connection.cursor("report") as cursor:
        cursor.execute(mart.select(sql.SQL("row_to_json(mart.*)::text")))
        file.write(b"[")
        for count, (line,) in enumerate(cursor, start=1):
            file.write(b",\n" if count > 1 else b"\n")
            file.write(line.encode())
        file.write(b"\n]\n")
    return count


def write_parquet(connection: Any, mart: Mart, file: BinaryIO) -> int:
    """Write a mart as Parquet, one row group after the other; return the number of rows."""
    arrow_schema = pyarrow.schema([(column.name, arrow_type(column)) for column in mart.columns])
    expressions = [
        column.expression(as_text=pyarrow.types.is_string(kind))
        for column, kind in zip(mart.columns, arrow_schema.types, strict=True)
    ]
    count = 0
    with connection.cursor("report") as cursor, pyarrow.parquet.ParquetWriter(file, arrow_schema) as writer:
        cursor.execute(mart.select(*expressions))
        while rows := cursor.fetchmany(ROW_GROUP):
            values = zip(*rows, strict=True)
            arrays = [pyarrow.array(v, kind) for v, kind in zip(values, arrow_schema.types, strict=True)]
            writer.write_table(pyarrow.table(arrays, schema=arrow_schema))
            count += len(rows)
    return count


def arrow_type(column: Column) -> Any:
    """Return the type of a column in Parquet: text where Parquet has none that holds each value exactly."""
    if numeric := re.fullmatch(r"numeric\((\d+),(\d+)\)", column.type):
        precision, scale = map(int, numeric.groups())
        return pyarrow.decimal128(precision, scale) if precision <= 38 else pyarrow.string()
    return {
        "boolean": pyarrow.bool_(),
        "smallint": pyarrow.int16(),
        "integer": pyarrow.int32(),
        "bigint": pyarrow.int64(),
        "real": pyarrow.float32(),
        "double precision": pyarrow.float64(),
        "date": pyarrow.date32(),
        "timestamp without time zone": pyarrow.timestamp("us"),
        "timestamp with time zone": pyarrow.timestamp("us", tz="UTC"),
    }.get(column.type, pyarrow.string())


WRITERS = {"csv": write_csv, "excel": write_excel, "json": write_json, "parquet": write_parquet}

if __name__ == "__main__":
    run_main(main)
