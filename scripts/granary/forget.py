"""Forget a person: replace their values by pseudonyms in the database and in the files, and write a certificate.

    bin/forget sales customer_id=c_0031 --dry-run       say which values are theirs, and where they are
    bin/forget sales customer_id=c_0031                 replace them
    bin/forget sales email=ann@example.org --keep full_name='Ann Lee'

The values begin with those that are given, of columns that the source declares as `personal`. The personal columns of
their rows give the others; ids lead on to the rows that have them, unless rows of other people have them, too. Such
ids are left alone. Other values that somebody else has are replaced in the person's own rows only.

Nothing is deleted, so that rows, lines and sums stay. Afterwards, the database and the files are searched for the
values: if any is left, it is listed, and the exit code is 1. docs/privacy.md says what backups need.
"""

from __future__ import annotations

import contextlib
import datetime
import getpass
import json
import os
import shlex
import sys
from argparse import ArgumentParser, Namespace, RawDescriptionHelpFormatter
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extras import execute_values

from granary import declared, engines, process, project
from granary.declared import Entity
from granary.loader import forgotten, landing, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.raw_tables import Session, raw
from granary.privacy import files
from granary.privacy.person import Cell, Finder, Person, Search, new_value, rows_only
from granary.project import GranaryError, replacing, run_main, schema_prefix
from granary.server.connection import connect
from granary.text import counted, print_table, printable

FILE_COLUMNS = ("path", "sha256_before", "sha256_after", "bytes_before", "bytes_after")
CERTIFICATES = "output/forgotten"
ROWS = 5_000  # that are looked at, and changed, at once
# What holds text: as a type of its own, in JSON, XML, or arrays.
TEXT_COLUMNS = """
    select nspname, relname, relkind, array_agg(array[attname, format_type(atttypid, atttypmod)] order by attnum)
    from pg_class
    inner join pg_namespace on pg_namespace.oid = relnamespace
    inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped and attgenerated = ''
    inner join pg_type on pg_type.oid = atttypid
    left join pg_type as element on element.oid = pg_type.typelem and pg_type.typcategory = 'A'
    where
        relkind in ('r', 'm')
        and nspname <> 'information_schema' and not starts_with(nspname, 'pg_')
        and (
            'S' in (pg_type.typcategory, element.typcategory)
            or coalesce(element.typname, pg_type.typname) in ('json', 'jsonb', 'xml', 'hstore')
        )
    group by nspname, relname, relkind
    order by nspname = 'raw' desc, nspname, relname
"""
# What PostgreSQL remembers of values, to plan queries
STATISTICS = """
    select schemaname || '.' || tablename, concat_ws(' ', most_common_vals, histogram_bounds, most_common_elems)
    from pg_stats
    where not starts_with(schemaname, 'pg_') and schemaname <> 'information_schema'
"""
COPIES = """
    select left(nspname, -length('intermediate'))
    from pg_class
    inner join pg_namespace on pg_namespace.oid = relnamespace
    where relname = '_rules' and right(nspname, length('intermediate')) = 'intermediate'
    order by 1
"""


class Plan(NamedTuple):
    """A landing file, or another one below the data root, and what is to be replaced in it."""

    file: LandingFile
    cells: files.Cells
    found: int  # words


def main() -> int:
    """Forget whom the command line names; return 1 if anything is left of them, else 0."""
    options = parse_arguments()
    project.load_env()
    entities, root = declared.entities(), Path(options.data_dir or project.data_folder())
    if options.feed not in {entity.feed for entity in entities.values()}:
        feeds = ", ".join(sorted({entity.feed for entity in entities.values() if entity.personal}))
        raise GranaryError(f"there is no feed {options.feed}: feeds with personal columns are {feeds or 'none'}")
    with contextlib.closing(Session()) as session:
        resumed = None if options.dry_run else resume(session, root, options, entities.values())
        what = "search for a person" if options.dry_run else "forgetting a person"
        with session.transaction(what, keep=not options.dry_run) as cursor:
            raw_tables.prepare(cursor, entities.values())
            try:
                person = Search(cursor, entities.values(), options.feed, options.keep).find(options.given)
            except GranaryError as error:
                if resumed is None:
                    raise
                print(printable(error))
                return resumed
            finder = Finder(person.words)
            plans = planned(cursor, root, entities, person, finder)
            seeds = [file for file in seed_files() if files.count(file, finder)]
            if options.dry_run:
                show(cursor, person, finder, plans, seeds, entities.values())
                return 0
            if seeds and not options.seeds:
                names = ", ".join(f"dbt/seeds/{file.name}" for file in seeds)
                raise GranaryError(
                    f"{names}: this list names the person: add --seeds to rewrite it, or take the line out; nothing was"
                    " changed"
                )
            forgotten_id, what = replace(cursor, options.feed, entities.values(), person, finder, plans, seeds)
        return finish(session, root, forgotten_id, what, finder)


def parse_arguments() -> Namespace:
    """Read the command line."""
    parser = ArgumentParser("bin/forget", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("feed", help="the feed in which the person is looked for")
    parser.add_argument("given", metavar="COLUMN=VALUE", nargs="+", type=pair, help="a value of the person")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    parser.add_argument(
        "--keep", metavar="COLUMN=VALUE", action="append", default=[], type=pair, help="leave a value alone"
    )
    parser.add_argument("--seeds", action="store_true", help="rewrite lists in dbt/seeds that name the person, too")
    parser.add_argument("--data-dir", metavar="D", help="the data root (default: GRANARY_DATA, or data)")
    return parser.parse_args()


def pair(text: str) -> tuple[str, str]:
    """Return the column and the value of COLUMN=VALUE."""
    column, equals, value = text.partition("=")
    if not equals:
        raise ValueError(text)
    return column, value


# -- What there is -----------------------------------------------------------------------------------------------------


def planned(
    cursor: Any, root: Path, entities: Mapping[tuple[str, str], Entity], person: Person, finder: Finder
) -> list[Plan]:
    """Return the files below the data root in which something is to be replaced."""
    loaded, plans = batches(cursor), []
    home, owner = Path(os.path.realpath(root)), landing.owners(entities)
    own_rows = numbered_cells(person, {batch_id: first for found in loaded.values() for batch_id, first, _ in found})
    paths = {(feed, entity, path) for (feed, entity, _), found in loaded.items() for *_, path in found}
    for name in names_below(root):
        if finder.found(name):
            raise GranaryError(
                f"{root / name}: the name of this file has a value of the person, and stands for it in the ledger:"
                " leave the value alone with --keep, or rename the file before it is loaded"
            )
        file, cells = landing.landing_file(root, home, name, owner), {}
        found = files.count(file, finder)
        if file.entity:  # the same bytes may be known under several names
            key = (file.entity.feed, file.entity.name, forgotten.hash_of(root, name))
            for batch_id, *_ in loaded.get(key, []):
                cells |= own_rows.get(batch_id, {})
            if (found or cells) and (*key[:2], file.relative) in paths and key not in loaded:
                raise GranaryError(
                    f"{file.relative}: its bytes are not those that were loaded: bring them back, or load them with"
                    f" bin/ingest --replace {file.label}"
                )
        if found or cells:
            plans.append(Plan(file, cells, found))
    return plans


def batches(cursor: Any) -> dict[tuple[str, str, str], list[tuple[int, int, str]]]:
    """Return by feed, entity and hash the batches that a file may be known as: number, first row id and path."""
    cursor.execute(
        "select feed, entity, sha256, batch_id, first_row_id, path from raw._batches where status <> 'failed'"
    )
    found: dict[tuple[str, str, str], list[tuple[int, int, str]]] = {}
    for feed, entity, sha256, *batch in cursor.fetchall():
        found.setdefault((feed, entity, sha256), []).append(tuple(batch))
    return found


def numbered_cells(person: Person, first_row_ids: Mapping[int, int]) -> dict[int, dict[int, dict[str, Cell]]]:
    """Return by batch and number of the row in its file the cells whose values are looked for nowhere else."""
    found: dict[int, dict[int, dict[str, Cell]]] = {}
    for table, rows in person.cells.items():
        for row_id, row in rows.items():
            if cells := rows_only(row):
                batch_id = person.rows[table][row_id].batch_id
                found.setdefault(batch_id, {})[row_id - first_row_ids[batch_id] + 1] = cells
    return found


def names_below(root: Path) -> Iterator[str]:
    """Yield the paths, from a folder, of all files below it but those that wait to take the place of another."""
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file() and not name.startswith(forgotten.PREFIX):
                yield path.relative_to(root).as_posix()


def seed_files() -> list[LandingFile]:
    """Return the lists that people maintain."""
    folder = project.ROOT / "dbt" / "seeds"
    return [LandingFile(folder, path.relative_to(folder).as_posix()) for path in sorted(folder.rglob("*.csv"))]


def derived_places(root: Path) -> dict[Path, str]:
    """Return where copies of the data may be, outside of the data folder, with what makes them again."""
    lake = engines.lake()
    places = {
        project.ROOT / "output": "make, bin/report",
        project.target_directory(): "make",
        project.ROOT / "dbt" / (os.environ.get("DBT_LOG_PATH") or "logs"): "delete them",
        project.ROOT / "logs": "delete them",
        **({} if "://" in lake else {Path(lake): f"delete {Path(lake).name}, and run bin/lake"}),
        Path(engines.duckdb_file()): "delete the file, and run GRANARY_ENGINE=duckdb make",
        project.ROOT / "lakehouse": "delete the folder, and run GRANARY_ENGINE=spark make",
    }
    return {place: again for place, again in places.items() if place.exists() and place != root}


def is_rewritten(place: Path) -> bool:
    """Return whether files in a place can be rewritten one by one: the tables of another engine hang together."""
    return place not in (Path(engines.duckdb_file()), project.ROOT / "lakehouse")


def copies_in(place: Path) -> list[LandingFile]:
    """Return the files in a place, which may be a file itself."""
    if place.is_file():
        return [LandingFile(place.parent, place.name)]
    return [LandingFile(place, name) for name in names_below(place)]


def count_in(file: LandingFile, finder: Finder) -> int:
    """Return how often values are in a file; what can't be read as its name says is read as it is."""
    try:
        return files.count(file, finder)
    except GranaryError:
        return finder.found(file.path.read_bytes().decode("utf-8", "replace"))


def show(
    cursor: Any, person: Person, finder: Finder, plans: list[Plan], seeds: list[LandingFile], entities: Iterable[Entity]
) -> None:
    """Say what would be replaced, where, and what else the user should know."""
    print("values")
    where = [("everywhere" if each.everywhere else f"in their rows: {each.reason}") for each in person.values]
    print_table(
        ("column", "value", "found", "replaced"),
        [(each.column, each.text, each.why, text) for each, text in zip(person.values, where, strict=True)],
    )
    for title, lines in (("left alone", person.left_alone), ("in other feeds", person.elsewhere)):
        if lines:
            print(title, *(f"  {printable(line)}" for line in lines), sep="\n")
    names = {entity.table: f"{entity.feed}.{entity.name}" for entity in entities}
    print("rows of the person")
    print_table(
        ("table", "rows", "cells"),
        [
            (names[table], len(rows), sum(map(len, person.cells.get(table, {}).values())))
            for table, rows in person.rows.items()
        ],
    )
    print("in the database, with a value that is replaced everywhere")
    print_table(("table", "rows"), [*swept(cursor, finder).items()])
    print("files")
    print_table(
        ("file", "values"), [(each.file.relative, each.found + sum(map(len, each.cells.values()))) for each in plans]
    )
    for file in seeds:
        print(f"  dbt/seeds/{file.name}: needs --seeds")
    for place, again in derived_places(Path()).items():
        if found := {file.name: count for file in copies_in(place) if (count := count_in(file, finder))}:
            print(f"  {shown(place)}: {counted(sum(found.values()), 'value')} in {', '.join(found)} (again: {again})")
    notes = notes_on(cursor)
    if notes:
        print("not looked at", *(f"  {each}" for each in notes), sep="\n")
    print("nothing was changed (--dry-run)")


def notes_on(cursor: Any) -> list[str]:
    """Return what Granary doesn't rewrite: other databases, backups, object stores."""
    cursor.execute(
        "select datname from pg_database where not datistemplate and datname not in (current_database(), 'postgres')"
    )
    notes = [f"the database {name}: run bin/forget there with PGDATABASE={name}, or drop it" for (name,) in cursor]
    notes += [f"the backup {path.name}" for path in sorted(project.ROOT.glob("*.dump"))]
    if "://" in engines.lake():
        notes.append(f"the lake {engines.lake()}: delete it, and run bin/lake")
    if address := os.environ.get("GRANARY_RAW_URL"):
        notes.append(f"the payloads in {address}")
    return notes


def shown(path: Path) -> str:
    """Return a path as it is seen from the project."""
    return str(path.relative_to(project.ROOT) if path.is_relative_to(project.ROOT) else path)


# -- The database ------------------------------------------------------------------------------------------------------


def swept(cursor: Any, finder: Finder, *, replaces: bool = False) -> dict[str, int]:
    """Return by table how many rows have values in any column that holds text; replace the values if that is asked."""
    found: dict[str, int] = {}
    cursor.execute(TEXT_COLUMNS)
    for schema, table, kind, columns in cursor.fetchall() if finder.values else ():
        relation = sql.Identifier(schema, table)
        texts = [sql.SQL("cast({} as text)").format(sql.Identifier(name)) for name, _ in columns]
        may_have = sql.SQL(" or ").join(
            sql.SQL("strpos(lower({}), {}) > 0").format(text, sql.Literal(core))
            for text in texts
            for core in dict.fromkeys(finder.cores)
        )
        count = 0
        with cursor.connection.cursor(name="sweep") as rows:
            rows.itersize = ROWS
            rows.execute(
                sql.SQL("select cast(ctid as text), {} from {} where {}").format(
                    sql.SQL(", ").join(texts), relation, may_have
                )
            )
            while some := rows.fetchmany(ROWS):
                changed = [
                    (ctid, *new)
                    for ctid, *old in some
                    if (new := [value and finder.replaced(value)[0] for value in old]) != old
                ]
                count += len(changed)
                if replaces and kind == "r" and changed:
                    update(cursor, relation, columns, changed)
        if replaces and kind == "m" and count:
            cursor.execute(sql.SQL("refresh materialized view {}").format(relation))
        if count:
            found[f"{schema}.{table}"] = count
    return found


def remembered(cursor: Any, finder: Finder) -> dict[str, int]:
    """Return the tables in whose statistics values are, with the number of columns."""
    cursor.execute(STATISTICS)
    return dict(Counter(f"statistics of {table}" for table, text in cursor if finder.found(text)))


def update(cursor: Any, relation: sql.Identifier, columns: list[list[str]], rows: list[tuple]) -> None:
    """Write new values of columns, with their types, into the rows at these places."""
    names = [sql.Identifier(f"c{number}") for number in range(len(columns))]
    sets = sql.SQL(", ").join(
        sql.SQL("{} = cast(new.{} as {})").format(sql.Identifier(name), new, sql.SQL(kind))
        for (name, kind), new in zip(columns, names, strict=True)
    )
    statement = sql.SQL(
        "update {} as old set {} from (values %s) as new (place, {}) where old.ctid = cast(place as tid)"
    )
    execute_values(
        cursor, statement.format(relation, sets, sql.SQL(", ").join(names)).as_string(cursor), rows, page_size=ROWS
    )


def replace_cells(cursor: Any, person: Person) -> dict[str, int]:
    """Replace the values in the personal columns of the person's rows; return how many rows of each table that were."""
    for table, rows in person.cells.items():
        for row_id, cells in rows.items():
            sets = sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(column), sql.Literal(cell.new))
                for column, cell in cells.items()
            )
            cursor.execute(sql.SQL("update {} set {} where _row_id = {}").format(raw(table), sets, sql.Literal(row_id)))
    return {f"raw.{table}": len(rows) for table, rows in person.cells.items()}


def readings(cursor: Any, entities: Iterable[Entity]) -> dict[str, dict[str, int]]:
    """Return, by staging view of landing tables, how many rows it has, and values in each column."""
    found = {}
    for entity in entities:
        view = sql.Identifier(f"{schema_prefix()}staging", f"stg_{entity.table}")
        cursor.execute("select to_regclass(%s)", [view.as_string(cursor)])
        if cursor.fetchone()[0]:
            cursor.execute(sql.SQL("select * from {} limit 0").format(view))
            columns = [column.name for column in cursor.description]
            counts = sql.SQL(", ").join(sql.SQL("count({})").format(sql.Identifier(name)) for name in columns)
            cursor.execute(sql.SQL("select count(*), {} from {}").format(counts, view))
            found[f"{entity.feed}.{entity.name}"] = dict(zip(["rows", *columns], cursor.fetchone(), strict=True))
    return found


def replace(
    cursor: Any,
    feed: str,
    entities: Iterable[Entity],
    person: Person,
    finder: Finder,
    plans: list[Plan],
    seeds: list[LandingFile],
) -> tuple[int, dict[str, Any]]:
    """Replace the values in the database, and lay the rewritten files beside the delivered ones.

    Both count once the transaction is committed. Return the number in the ledger, and what it says.
    """
    before, written, rewritten = readings(cursor, entities), [], []
    try:
        for plan in plans:
            path = plan.file.path.resolve()
            waiting = forgotten.rewritten(path)
            written.append(waiting)
            done = files.write(plan.file, finder, plan.cells, waiting)
            new = LandingFile(waiting.parent, waiting.name)
            rewritten.append(
                {
                    "path": plan.file.relative,
                    "replaced": done,
                    "sha256_before": forgotten.hash_of(plan.file.root, plan.file.name),
                    "sha256_after": forgotten.hash_of(new.root, new.name),
                    "bytes_before": plan.file.size,
                    "bytes_after": new.size,
                }
            )
        tables = Counter(replace_cells(cursor, person))
        tables.update(swept(cursor, finder, replaces=True))
        after = readings(cursor, entities)
        for name, counts in before.items():
            if lost := [column for column, count in counts.items() if after[name][column] != count]:
                raise GranaryError(
                    f"{name}: pseudonyms aren't read as the values were, in {', '.join(lost)} (compare `must` of the"
                    " columns): nothing was changed; --keep leaves a value alone"
                )
        tables_of = {f"raw.{entity.table}": f"{entity.feed}.{entity.name}" for entity in entities}
        touched = [tables_of[table] for table in tables if table in tables_of]
        what = {
            "values": dict(Counter(f"{value.kind} ({value.column})" for value in person.values)),
            "in_own_rows_only": sum(not value.everywhere for value in person.values),
            "tables": dict(tables),
            "files": rewritten,
            "seeds": [file.name for file in seeds],
            "landing_tables": touched,
        }
        for file in seeds:
            written.append(forgotten.rewritten(file.path))
            files.write(file, finder, {}, written[-1])
        forgotten_id = record(cursor, feed, what, plans)
        demand_full_refresh(cursor, touched)
    except BaseException:
        for path in written:
            path.unlink(missing_ok=True)
        raise
    for file in seeds:
        forgotten.rewritten(file.path).replace(file.path)
    return forgotten_id, what


def record(cursor: Any, feed: str, what: dict[str, Any], plans: list[Plan]) -> int:
    """Write into the ledger what is replaced, and which bytes the files have now; return the number."""
    cursor.execute(
        "insert into raw._forgotten (forgotten_id, feed, forgotten_by, what)"
        " select coalesce(max(forgotten_id), 0) + 1, %s, %s || ', as ' || current_user, %s from raw._forgotten"
        " returning forgotten_id",
        [feed, getpass.getuser(), json.dumps(what)],
    )
    (forgotten_id,) = cursor.fetchone()
    for each in what["files"]:
        cursor.execute(
            "insert into raw._forgotten_files values (%s, %s, %s, %s, %s, %s)",
            [forgotten_id, *(each[key] for key in FILE_COLUMNS)],
        )
        cursor.execute("delete from raw._files where path = %s", [each["path"]])
    for plan, each in zip(plans, what["files"], strict=True):
        if entity := plan.file.entity:
            cursor.execute(
                "update raw._batches set sha256 = %s, bytes = %s where sha256 = %s and feed = %s and entity = %s",
                [each["sha256_after"], each["bytes_after"], each["sha256_before"], entity.feed, entity.name],
            )
    return forgotten_id


def demand_full_refresh(cursor: Any, landing_tables: list[str]) -> None:
    """Let no model be built incrementally from other values than those that it has taken in."""
    cursor.execute(COPIES)
    for (prefix,) in cursor.fetchall():
        cursor.execute(
            sql.SQL(
                "update {} set fingerprint = 'forgotten ' || fingerprint"
                " where landing_table = any(%s) and not starts_with(fingerprint, 'forgotten ')"
            ).format(sql.Identifier(f"{prefix}intermediate", "_rules")),
            [landing_tables],
        )


# -- What follows ------------------------------------------------------------------------------------------------------


def resume(session: Session, root: Path, options: Namespace, entities: Iterable[Entity]) -> int | None:
    """Finish what was interrupted; return None if nothing was, else the code of `finish`.

    Of the values of that person, only those are known that are given again: no row has them any more.
    """
    finder = Finder([])
    with session.transaction("forgetting a person") as cursor:
        raw_tables.prepare(cursor, entities)
        cursor.execute("select forgotten_id, what from raw._forgotten where finished_at is null order by 1")
        if unfinished := cursor.fetchall():
            try:
                Search(cursor, entities, options.feed, options.keep).find(options.given)
            except GranaryError:
                given = [new_value("id", column, text.strip(), "given") for column, text in options.given]
                finder = Finder([value for value in given if value.everywhere])
    codes = []
    for forgotten_id, what in unfinished:
        print(f"finishing number {forgotten_id}, which was interrupted")
        codes.append(finish(session, root, forgotten_id, what, finder))
    return max(codes) if codes else None


def finish(session: Session, root: Path, forgotten_id: int, what: dict[str, Any], finder: Finder) -> int:
    """Put the files in place, build, clean up, search, and write the certificate; return 1 if anything is left."""
    with session.transaction("files of a person who is forgotten") as cursor:
        missing = forgotten.put_in_place(cursor, root)
    if missing:
        raise GranaryError(
            f"{', '.join(missing)}: neither the delivered nor the rewritten bytes are there: restore them"
        )
    print(f"replaced in {counted(len(what['tables']), 'table')} and {counted(len(what['files']), 'file')}", flush=True)
    if number := what["in_own_rows_only"]:
        print(f"{counted(number, 'value')} that others may have, too, in the person's own rows only")
    places = [place for place in derived_places(root) if is_rewritten(place)]
    copies = [file for place in places for file in copies_in(place) if rewrite_copy(file, finder)]
    if what["landing_tables"]:
        build(what)
    cleaned = clean_up(what["tables"])
    with session.transaction("search for a person who is forgotten", keep=False) as cursor:
        left = swept(cursor, finder) | remembered(cursor, finder)
        notes = notes_on(cursor)
    for place in (root, project.ROOT / "dbt" / "seeds", *derived_places(root)):
        again = derived_places(root).get(place)
        for file in copies_in(place):
            if count := count_in(file, finder):
                left[f"{shown(file.path)}{f' (again: {again})' if again else ''}"] = count
    outcome = {
        "copies_rewritten": [shown(file.path) for file in copies],
        "cleaned": cleaned,
        "searched_for": len(finder.values),
        "left": left,
        "not_looked_at": notes,
    }
    certificate = write_certificate(session, forgotten_id, outcome)
    print(f"certificate: {shown(certificate)}")
    for note in notes:
        print(f"not looked at: {note}")
    for name, count in left.items():
        print(f"error: {counted(count, 'value' if '/' in name else 'row')} left in {printable(name)}", file=sys.stderr)
    if not left:
        print(f"searched for {counted(len(finder.values), 'value')}: nothing is left")
    return 1 if left else 0


def rewrite_copy(file: LandingFile, finder: Finder) -> bool:
    """Return whether a copy of the data had values, and could be rewritten."""
    if not count_in(file, finder):
        return False
    waiting = forgotten.rewritten(file.path)
    with contextlib.suppress(GranaryError):
        files.write(file, finder, {}, waiting)
        waiting.replace(file.path)
        return True
    return False


def build(what: dict[str, Any]) -> None:
    """Build again, from scratch, what reads the landing tables: some models choose or sort by what was replaced."""
    os.environ["GRANARY_ENGINE"] = "postgres"
    selected = [f"source:{name}+" for name in what["landing_tables"]] + [
        f"{Path(name).stem}+" for name in what["seeds"]
    ]
    arguments = ("--full-refresh", "--select", *selected, "--exclude-resource-type", "test", "unit_test")
    with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        cursor.execute("select to_regclass(%s)", [f'"{schema_prefix()}intermediate"._rules'])
        is_built = cursor.fetchone()[0]
    if is_built:
        print(f"builds again: bin/dbt build {shlex.join(arguments)}", flush=True)
        process.run("bin/dbt", "--bar", "build", *arguments)


def clean_up(tables: Iterable[str]) -> dict[str, str]:
    """Remove old rows from the files of tables and of statistics, as far as the server allows; say what was done."""
    done = {}
    with contextlib.closing(connect()) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for table in [*tables, "pg_catalog.pg_statistic"]:
                cursor.execute("select to_regclass(%s), relkind from pg_class where oid = to_regclass(%s)", [table] * 2)
                if found := cursor.fetchone():
                    analyze = "" if table.startswith("pg_catalog.") else ", analyze"
                    done[table] = attempt(cursor, f"vacuum (full{analyze}) {found[0]}")
            for statement in ("checkpoint", "select pg_switch_wal()"):
                done[statement] = attempt(cursor, statement)
    for what, result in done.items():
        if result != "done":
            print(f"not done: {what}: {result}", file=sys.stderr)
    return done


def attempt(cursor: Any, statement: str) -> str:
    """Execute a statement; return that it is done, or why not."""
    try:
        cursor.execute(statement)
    except psycopg2.Error as error:
        return str(error).strip().splitlines()[0]
    return "done"


def write_certificate(session: Session, forgotten_id: int, outcome: dict[str, Any]) -> Path:
    """Write the certificate, and into the ledger that the work is done; return its path."""
    with session.transaction("certificate of a person who was forgotten") as cursor:
        cursor.execute(
            "update raw._forgotten set finished_at = clock_timestamp(), what = what || %s where forgotten_id = %s"
            " returning feed, forgotten_at, forgotten_by, finished_at, what",
            [json.dumps(outcome), forgotten_id],
        )
        feed, forgotten_at, forgotten_by, finished_at, what = cursor.fetchone()
    content = {
        "number": forgotten_id,
        "feed": feed,
        "forgotten_at": forgotten_at.isoformat(),
        "finished_at": finished_at.isoformat(),
        "forgotten_by": forgotten_by,
        **what,
    }
    moment = forgotten_at.astimezone(datetime.timezone.utc)
    path = project.ROOT / CERTIFICATES / f"{moment:%Y%m%dT%H%M%S}_{forgotten_id}.json"
    with replacing(path) as file:
        file.write(json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n")
    return path


if __name__ == "__main__":
    run_main(main)
