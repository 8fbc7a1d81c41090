"""Build the models in schemas of their own, under stated circumstances: a copy. The warehouse stays as it is.

usage: bin/copy create NAME [option ...]   build a copy; its marts are in the schema copy_NAME__marts
       bin/copy list                       say what each copy is, and by what code it was built
       bin/copy refresh NAME               build it again, as it was asked for, with the code and the batches of now
       bin/copy drop NAME ...              remove copies; 'as_of_*' is all whose names begin so

  --as-of WHEN            what was known at the end of a day (2026-02-03, in UTC), until the batch after this one came
                          (28), or when a build began (its build_id in marts.build_log, or the beginning of it)
  --without-batch NUMBER  as if the batch had not been delivered (may be repeated, like all that follow but --ref)
  --ignore-merge A:B      as if A had not been merged into B
  --merge A:B             as if A had been merged into B as well
  --seed NAME=FILE        the rows of a CSV file in place of a seed's
  --ref REV               by the models of another commit
  --select MART           only the mart, and what it needs
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import dataclasses
import fnmatch
import functools
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from granary import dbt, declared, last_build, project
from granary.declared import Entity
from granary.project import ROOT, GranaryError, run_main, schema_prefix, target_directory
from granary.server.connection import connect
from granary.server.lock import keep_lock, take_lock
from granary.text import LONGEST_NAME, print_table, read_day

LAYERS = ("raw", "staging", "intermediate", "marts")
NAME = re.compile("[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = LONGEST_NAME - len("copy___intermediate")
CACHED = "as_of_"  # how the names begin that bin/as-of gives
RAW_SCHEMA = Path("dbt", "macros", "ledger", "raw_schema.sql")  # without this macro, models only read the schema raw
RAW_SQL = Path(__file__).with_suffix(".sql")
# The newest batch of a moment, and the moment up to which decisions (accepted batches, places of brands) were known.
MOMENTS = {
    "": "select max(batch_id), timestamptz 'infinity' from raw._batches",
    "day": "select max(batch_id), timestamptz %(asked)s + interval '1 day' from raw._batches"
    " where finished_at < timestamptz %(asked)s + interval '1 day'",
    "batch": "select batch_id, coalesce((select min(finished_at) from raw._batches where batch_id > %(asked)s), 'infinity')"
    " from raw._batches where batch_id = %(asked)s",
    # Loads and builds take turns, and a batch has its finished_at before its load gives up the lock. So the batches that
    # were finished when a build began are those that its models have read.
    "build": "select (select max(batch_id) from raw._batches where finished_at < builds.started_at), started_at"
    " from raw._builds as builds where starts_with(build_id, %(asked)s)",
}
# It tells batches from those of another ledger with the same numbers, and says if a decision has been added.
FINGERPRINT = """
    select
        (select finished_at::timestamp(0)::text from raw._batches where batch_id = %(batch)s),
        md5(concat_ws(
            '|',
            (select string_agg(concat(batch_id, sha256, finished_at), ',' order by batch_id)
                from raw._batches where batch_id <= %(batch)s),
            (select string_agg(concat(batch_id, accepted_at), ',' order by batch_id)
                from raw._accepted_batches where accepted_at <= %(at)s),
            (select string_agg(concat(kind, place, entity, found_at, gone_at <= %(at)s), ',' order by kind, place, entity)
                from raw._brands where found_at <= %(at)s),
            (select string_agg(rejection_id, ',' order by rejection_id)
                from raw._replayed_values where replayed_at <= %(at)s)
        ))
"""
LANDING_TABLES = """
    select relname, array_agg(attname::text order by attnum)
    from pg_class inner join pg_attribute on attrelid = pg_class.oid
    where relnamespace = 'raw'::regnamespace and relkind = 'r' and not starts_with(relname, '_') and attnum > 0 and not attisdropped
    group by relname
    having '_batch_id' = any(array_agg(attname))
"""
LANDING_VIEW = """
    create view {raw}.{landing} as
    select {columns} from raw.{landing} where _batch_id <= {last_batch} and _batch_id <> all({without})
"""


@dataclasses.dataclass(frozen=True)
class Circumstances:
    """The options of `bin/copy create`; of seeds, what their files hold."""

    as_of: str = ""
    without_batch: tuple[int, ...] = ()
    ignore_merge: tuple[str, ...] = ()
    merge: tuple[str, ...] = ()
    seed: dict[str, str] = dataclasses.field(default_factory=dict)
    ref: str = ""
    select: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return them as on the command line."""
        given = [("as-of", self.as_of), ("ref", self.ref)]
        given += [(name.replace("_", "-"), each) for name in self.repeated() for each in getattr(self, name)]
        return " ".join(f"--{option} {value}" for option, value in given if value)

    @staticmethod
    def repeated() -> tuple[str, ...]:
        """Return the names of what can be given more than once."""
        return ("without_batch", "ignore_merge", "merge", "seed", "select")


@dataclasses.dataclass(frozen=True)
class Known:
    """What was known at a moment: up to a batch, and of decisions until `at`. `fingerprint` is a hash of it."""

    batch: int
    at: str
    loaded_at: str
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Copy:
    """What is written down with a copy."""

    name: str
    circumstances: Circumstances
    state: str
    last_batch: int
    known: str
    code: str
    revision: str | None
    created_at: str


def main() -> int:
    """Do what the command line says; return an exit code."""
    options = arguments()
    dbt.prepare()
    if options.command == "list":
        with contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
            copies = [read(cursor, name) for name in names(cursor)]
        header = ("copy", "state", "last batch", "created (UTC)", "code", "circumstances")
        rows = [(c.name, c.state, str(c.last_batch), c.created_at, code_of(c), str(c.circumstances)) for c in copies]
        print_table(header, rows) if rows else print("there are no copies: bin/copy --help says how to make one")
        return 0
    with turn(f"bin/copy {options.command}") as connection:
        if options.command == "drop":
            for pattern in options.names:
                with connection, connection.cursor() as cursor:
                    found = fnmatch.filter(names(cursor), pattern) or [existing(cursor, pattern).name]
                    drop(cursor, found)
                print(f"dropped   {', '.join(found)}")
            return 0
        with connection, connection.cursor() as cursor:
            if options.command == "refresh":
                asked = existing(cursor, options.name).circumstances
            else:
                check_name(cursor, options.name)
                values = {each.name: getattr(options, each.name) for each in dataclasses.fields(Circumstances)}
                asked = Circumstances(**values | {"seed": read_seeds(options.seed)})
        batch = create(connection, options.name, asked)
    print(f"copy {options.name}, as of batch {batch}: its marts are in {schema(options.name, 'marts')}")
    return 0


def arguments() -> argparse.Namespace:
    """Return what the command line says."""
    form = {"usage": argparse.SUPPRESS, "description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("bin/copy", **form)
    commands = parser.add_subparsers(dest="command", required=True, metavar="", help=argparse.SUPPRESS)
    making = commands.add_parser("create", **form)
    commands.add_parser("list", **form)
    for command in (making, commands.add_parser("refresh", **form)):
        command.add_argument("name", metavar="NAME", help=argparse.SUPPRESS)
    commands.add_parser("drop", **form).add_argument("names", metavar="NAME", nargs="+", help=argparse.SUPPRESS)
    for option in ("--as-of", "--ref"):
        making.add_argument(option, default="", help=argparse.SUPPRESS)
    for name in Circumstances.repeated():
        option, kind = f"--{name.replace('_', '-')}", int if name == "without_batch" else str
        making.add_argument(option, action="append", default=[], type=kind, help=argparse.SUPPRESS)
    return parser.parse_args()


@contextlib.contextmanager
def turn(what: str) -> Iterator[psycopg2.extensions.connection]:
    """Take the lock of loads and builds until the process ends, and yield another connection. PostgreSQL builds copies.

    Raises GranaryError where the user lacks a right.
    """
    os.environ["GRANARY_ENGINE"] = "postgres"
    holder = dbt.connect_dbt()
    take_lock(holder, what)
    keep_lock(holder, dbt.stop_without_lock)
    try:
        with contextlib.closing(connect()) as connection:
            yield connection
    except psycopg2.errors.InsufficientPrivilege as error:
        raise GranaryError(f"the user may not do this: {str(error).strip()}") from None


# -- What there is -----------------------------------------------------------------------------------------------------


def schema(name: str, layer: str) -> str:
    """Return the name of a schema of a copy."""
    return f"copy_{name}__{layer}"


def names(cursor: Any) -> list[str]:
    """Return the names of all copies, also of unfinished ones."""
    cursor.execute(
        "select substring(nspname from '^copy_(.*)__raw$') from pg_namespace"
        " inner join pg_class on relnamespace = pg_namespace.oid and relname = '_copy' order by 1"
    )
    return [name for (name,) in cursor.fetchall() if name]


def read(cursor: Any, name: str) -> Copy | None:
    """Return a copy; None if there is none of that name."""
    if name not in names(cursor):
        return None
    columns = "circumstances, state, last_batch, known, code, revision, created_at::timestamp(0)::text"
    cursor.execute(sql.SQL(f"select {columns} from {{}}").format(sql.Identifier(schema(name, "raw"), "_copy")))
    circumstances, *others = cursor.fetchone()
    return Copy(name, Circumstances(**circumstances), *others)


def existing(cursor: Any, name: str) -> Copy:
    """Return a copy. Raises GranaryError if there is none of that name."""
    if found := read(cursor, name):
        return found
    raise GranaryError(f"there is no copy {name}; there are: {', '.join(names(cursor)) or 'none'}")


def code_of(copy: Copy) -> str:
    """Return what people call the code of a copy: its commit, if git knows it."""
    return copy.revision or copy.code[:8]


def check_name(cursor: Any, name: str) -> None:
    """Raise GranaryError if a new copy can't have this name."""
    if not NAME.fullmatch(name) or len(name) > LONGEST:
        letters = "lower-case letters, digits, and single underscores between them"
        raise GranaryError(f"invalid name {name!r}: choose at most {LONGEST} {letters}, with a letter first")
    if name.startswith(CACHED):
        raise GranaryError(f"names such as {name} are for bin/as-of: choose one that doesn't begin with {CACHED}")
    if found := read(cursor, name):
        state = "an unfinished copy" if found.state == "unfinished" else "a copy"
        raise GranaryError(f"there is {state} {name}: run bin/copy refresh {name}, or bin/copy drop {name}")
    cursor.execute(
        "select nspname from pg_namespace where nspname = any(%s)", [[schema(name, each) for each in LAYERS]]
    )
    if cursor.rowcount:
        raise GranaryError(
            f"there is a schema {cursor.fetchone()[0]} that is no copy's: choose another name than {name}"
        )


def artifacts(name: str) -> Path:
    """Return the folder of a copy for dbt's artifacts, and for what it is built from."""
    return all_artifacts() / name


@functools.cache
def all_artifacts() -> Path:
    """Return the folder of all copies, as it is before a build changes DBT_TARGET_PATH."""
    return target_directory() / "copies"


def drop(cursor: Any, found: list[str]) -> None:
    """Drop copies, in the cursor's transaction."""
    cursor.execute("set local client_min_messages = warning")
    for name in found:
        for layer in LAYERS:
            cursor.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema(name, layer))))
        shutil.rmtree(artifacts(name), ignore_errors=True)


# -- What was known, and what is asked for -----------------------------------------------------------------------------


def known_at(cursor: Any, asked: str) -> Known:
    """Return what was known at the end of a day, after a batch, when a build began, or now. Raises GranaryError."""
    cursor.execute("select to_regclass('raw._brands') is not null")
    if not cursor.fetchone()[0]:
        raise GranaryError("nothing is loaded yet: run bin/ingest")
    kind = kind_of(asked)
    cursor.execute(f"select batch, at::text from ({MOMENTS[kind]}) as moments (batch, at)", {"asked": asked})
    found = cursor.fetchall()
    if kind == "batch" and not found:
        raise GranaryError(f"there is no batch {asked}: marts.load_audit lists them")
    if kind == "build" and len(found) != 1:
        which = "several builds have ids" if found else "no build has an id"
        raise GranaryError(f"{which} that begin with {asked}: marts.build_log lists them")
    ((batch, at),) = found
    loaded = "select batch_id, finished_at::timestamp(0) from raw._batches where status <> 'failed' order by batch_id limit 1"
    cursor.execute(loaded)
    first = cursor.fetchone()
    if not first or (batch or 0) < first[0]:
        ended = f"the first load, of batch {first[0]}, ended at {first[1]} UTC" if first else "run bin/ingest"
        raise GranaryError(f"nothing was loaded {f'as of {asked}' if asked else 'yet'}: {ended}")
    cursor.execute(FINGERPRINT, {"batch": batch, "at": at})
    return Known(batch, at, *cursor.fetchone())


def kind_of(asked: str) -> str:
    """Return which of MOMENTS a text names. Raises GranaryError if it names none."""
    if not asked or read_day(asked):
        return asked and "day"
    if re.fullmatch("[0-9]{1,18}", asked):
        return "batch"
    if re.fullmatch("[0-9a-f-]{4,36}", asked) and not re.match("[0-9]{1,4}-[0-9]{1,2}(-|$)", asked):
        return "build"
    raise GranaryError(
        f"invalid moment {asked}: choose a day such as 2026-02-03, the number of a batch, or the beginning of a build_id"
    )


def check(cursor: Any, asked: Circumstances, known: Known, root: Path) -> None:
    """Raise GranaryError if a mart, a batch or a merge to ignore doesn't exist."""
    check_marts(asked.select, root)
    for batch in asked.without_batch:
        cursor.execute("select from raw._batches where batch_id = %s and batch_id <= %s", [batch, known.batch])
        if not cursor.rowcount:
            raise GranaryError(f"--without-batch {batch}: there is no such batch up to {known.batch}")
    for merge in asked.ignore_merge:
        table, ids, _ = merge_of(merge, root)
        query = sql.SQL("select from raw.{} where {} = %s and {} = %s and _batch_id <= %s limit 1")
        cursor.execute(query.format(*map(sql.Identifier, (table.table, *ids))), [*ids.values(), known.batch])
        if not cursor.rowcount:
            raise GranaryError(f"--ignore-merge {merge}: no such merge was delivered up to batch {known.batch}")


def check_marts(chosen: tuple[str, ...] | list[str], root: Path = ROOT) -> dict[str, declared.Mart]:
    """Return the marts of a project. Raises GranaryError if one that was chosen isn't among them."""
    marts = declared.marts(root / "dbt" / "models")
    if unknown := [name for name in chosen if name not in marts]:
        raise GranaryError(f"there is no mart {unknown[0]}: choose from {', '.join(marts)}")
    return marts


def merge_of(merge: str, root: Path) -> tuple[Entity, dict[str, str], dict[str, str]]:
    """Return the landing table that declares `merges`, the columns and ids of A:B (or FEED:A:B), and the declaration."""
    *feed, one, other = merge.split(":") if merge.count(":") in (1, 2) else ("", "")
    entities = declared.declarations(root / "dbt" / "models")[0].values()
    found = [entity for entity in entities if entity.meta.get("merges") and (not feed or entity.feed == feed[0])]
    if not one or not other:
        raise GranaryError(f"invalid merge {merge}: write A:B if A was merged into B")
    if not found:
        raise GranaryError(f"merge {merge}: no landing table declares `merges` in its meta (docs/questions.md#copies)")
    if len(found) > 1:
        feeds = " or ".join(f"{entity.feed}:{merge}" for entity in found)
        raise GranaryError(f"merge {merge}: several feeds declare `merges`: write {feeds}")
    (table,), declaration = found, found[0].meta["merges"]
    columns = [declaration.get(key) for key in ("from", "to", "at")] if isinstance(declaration, dict) else [""]
    if not {*columns} <= {*table.columns} or not seed_files(root).get(declaration.get("ignored_in")):
        takes = "`from`, `to` and `at`, which are columns, and `ignored_in`, a seed"
        raise GranaryError(f"{table.path}: table {table.name}: `merges` takes {takes}")
    return table, {columns[0]: one, columns[1]: other}, declaration


# -- Seeds -------------------------------------------------------------------------------------------------------------


def read_seeds(options: list[str]) -> dict[str, str]:
    """Return what the files of seeds hold, from NAME=FILE. Raises GranaryError if one can't be read."""
    found = {}
    for option in options:
        name, _, path = option.partition("=")
        try:
            found[name] = Path(path or "FILE").read_text("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise GranaryError(f"--seed {option}: can't read the file: {reason}") from None
    return found


def seed_files(root: Path) -> dict[str, Path]:
    """Return the file of each seed of a project."""
    return {path.stem: path for path in sorted((root / "dbt" / "seeds").rglob("*.csv"))}


def seeds_of(asked: Circumstances, root: Path) -> dict[str, str]:
    """Return what the seeds that differ from the project's hold. Raises GranaryError if that can't be a seed's."""
    files, found = seed_files(root), dict(asked.seed)
    for name, text in found.items():
        if name not in files:
            raise GranaryError(f"--seed {name}: there is no such seed: choose from {', '.join(files)}")
        header, rows = csv_of(text, name)
        needed, _ = csv_of(files[name].read_text("utf-8-sig"), name)
        if sorted(header) != sorted(needed):
            raise GranaryError(f"--seed {name}: the file has the columns {', '.join(header)}, not {', '.join(needed)}")
        if wrong := next((row for row in rows if len(row) != len(header)), None):
            raise GranaryError(f"--seed {name}: this row has {len(wrong)} fields, not {len(header)}: {','.join(wrong)}")
    for merge in asked.ignore_merge:
        _, ids, declaration = merge_of(merge, root)
        name = declaration["ignored_in"]
        header, rows = csv_of(found.get(name) or files[name].read_text("utf-8-sig"), name)
        if not any(ids.items() <= dict(zip(header, row, strict=False)).items() for row in rows):
            rows.append([ids.get(column, "bin/copy --ignore-merge") for column in header])
        csv.writer(written := io.StringIO(), lineterminator="\n").writerows([header, *rows])
        found[name] = written.getvalue()
    return found


def csv_of(text: str, name: str) -> tuple[list[str], list[list[str]]]:
    """Return the header and the rows of a seed's text. Raises GranaryError if it isn't CSV."""
    try:
        header, *rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
        return header, rows
    except (csv.Error, ValueError) as error:
        reason = error if isinstance(error, csv.Error) else "it has no header"
        raise GranaryError(f"seed {name}: the file is not valid CSV: {reason}") from None


# -- The code ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def code_for(name: str, ref: str) -> Iterator[tuple[Path, str, str | None]]:
    """Yield the folder of the project whose models are built, a hash of its code, and its commit, if there is one."""
    if not ref:
        yield ROOT, fingerprint(), revision()
        return
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip().decode()
    if not commit:
        raise GranaryError(
            f"--ref {ref}: "
            + ("there is no such commit" if git("rev-parse", "HEAD") else "this is not a git repository")
        )
    folder = artifacts(name) / "code"
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "dbt"))) as archive:
            archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        if not (folder / RAW_SCHEMA).exists():
            raise GranaryError(
                f"--ref {ref}: the commit is older than bin/copy, and its models only read the schema raw"
            )
        yield folder, commit, commit[:8]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def git(*arguments: str) -> bytes:
    """Return what git prints about this repository; nothing if it fails, or isn't installed."""
    try:
        return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, check=False).stdout
    except FileNotFoundError:
        return b""


def revision() -> str | None:
    """Return the commit of this repository, with a + if files of dbt have changed since."""
    commit = git("rev-parse", "HEAD").decode()[:8]
    return commit + ("+" if git("status", "--porcelain", "--", "dbt") else "") if commit else None


def fingerprint() -> str:
    """Return a hash of the code by which models are built, and of dbt's version."""
    files, settings, _ = last_build.code()
    built_by = [
        sorted(each for each in files.items() if each[0].startswith("dbt/")),
        [settings[name] for name in last_build.DBT],
    ]
    return hashlib.sha256(json.dumps(built_by).encode()).hexdigest()


# -- Making a copy -----------------------------------------------------------------------------------------------------


def create(connection: psycopg2.extensions.connection, name: str, asked: Circumstances) -> int:
    """Make a copy, in place of the one of that name, and return its last batch. Raises GranaryError.

    It is written down, as unfinished, in the transaction that drops the old one.
    """
    with code_for(name, asked.ref) as (root, code, commit):
        with connection, connection.cursor() as cursor:
            known = known_at(cursor, asked.as_of)
            check(cursor, asked, known, root)
            seeds = seeds_of(asked, root)
            drop(cursor, [name])
            create_raw(cursor, name, asked, known, root)
            values = [json.dumps(dataclasses.asdict(asked)), known.batch, known.at, known.fingerprint, code, commit]
            insert = "insert into {} values (%s, 'unfinished', %s, %s, %s, %s, %s)"
            cursor.execute(sql.SQL(insert).format(sql.Identifier(schema(name, "raw"), "_copy")), values)
        build(connection, name, root, asked.select, seeds)
    return known.batch


def create_raw(cursor: Any, name: str, asked: Circumstances, known: Known, root: Path) -> None:
    """Create what a copy has for the schema raw: see copies.sql."""
    merges = [merge_of(merge, root)[:2] for merge in asked.merge]
    if len({table.table for table, _ in merges}) > 1:
        raise GranaryError("--merge: the merges of a copy have to be of one feed")
    table = merges[0][0] if merges else None
    values = {
        "raw": sql.Identifier(schema(name, "raw")),
        "last_batch": sql.Literal(known.batch),
        "known_at": sql.SQL("timestamptz {}").format(sql.Literal(known.at)),
        "without": sql.SQL("cast({} as bigint[])").format(sql.Literal([*asked.without_batch])),
        "merges": sql.Literal(len(merges)),
        "merge_feed": sql.Literal(table and table.feed),
        "merge_entity": sql.Literal(table and table.name),
    }
    cursor.execute(sql.SQL(RAW_SQL.read_text("utf-8")).format(**values))
    cursor.execute(LANDING_TABLES)
    for landing, columns in cursor.fetchall():
        names = {"landing": sql.Identifier(landing), "columns": sql.SQL(", ").join(map(sql.Identifier, columns))}
        view = sql.SQL(LANDING_VIEW).format(**values, **names)
        for number, (_, ids) in enumerate(merges if table and table.table == landing else []):
            row = {"_batch_id": known.batch + 1, "_row_id": number - len(merges), **ids}
            row[table.meta["merges"]["at"]] = f"{known.loaded_at}Z"
            view += sql.SQL(" union all select {}").format(
                sql.SQL(", ").join(sql.Literal(row.get(each)) for each in columns)
            )
        cursor.execute(view)


def build(
    connection: psycopg2.extensions.connection, name: str, root: Path, marts: Sequence[str], seeds: Mapping[str, str]
) -> None:
    """Build a copy, or some of its marts with what they need, and write down that it is complete. Raises GranaryError."""
    from dbt.cli.main import dbtRunner  # takes a second

    folder, parsed_before = artifacts(name), target_directory() / "partial_parse.msgpack"
    folder.mkdir(parents=True, exist_ok=True)
    if root == ROOT and parsed_before.exists():  # it takes ten seconds to parse everything
        shutil.copy(parsed_before, folder)
    paths = {
        "DBT_TARGET_PATH": str(folder),
        "DBT_PROJECT_DIR": str(root / "dbt"),
        "DBT_PROFILES_DIR": str(root / "dbt"),
    }
    os.environ |= paths
    project.ROOT = root  # below which it is read what is declared
    dbt.leave_out_broken_tables(connection)
    dbt.be_interruptible()
    parsed = dbtRunner().invoke(["--log-level", "warn", "parse"])
    code = 0 if parsed.success else 2
    if parsed.success:
        move(parsed.result, name)
        os.environ |= {"GRANARY_SCHEMA_PREFIX": schema(name, ""), "GRANARY_RAW_SCHEMA": schema(name, "raw")}
        for seed, text in seeds.items():  # a path that doesn't exist in the project is looked for in root_path
            node = parsed.result.nodes[f"seed.granary.{seed}"]
            node.root_path, node.original_file_path = str(folder), f"seeds_of_copy/{seed}.csv"
            (path := folder / node.original_file_path).parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        runs = [["--select", *seeds, "--indirect-selection", "cautious"]] if seeds else []
        runs.append(
            [
                "--exclude-resource-type",
                "test",
                "unit_test",
                *(["--select", *(f"+{mart}" for mart in marts)] if marts else []),
            ]
        )
        for options in runs:
            code = code or dbt.run_with_bar("build", ["--no-write-json", "build", *options], parsed.result)
    project.ROOT = ROOT
    if code:
        raise GranaryError(
            f"the copy {name} is unfinished: see above; then run bin/copy refresh {name}, or bin/copy drop {name}"
        )
    with connection, connection.cursor() as cursor:
        cursor.execute(sql.SQL("update {} set state = 'complete'").format(sql.Identifier(schema(name, "raw"), "_copy")))


def move(manifest: Any, name: str) -> None:
    """Give what dbt has parsed the schemas of a copy. So it needs to parse no more than for the warehouse itself."""
    prefix = schema_prefix()
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        layer = node.schema.removeprefix(prefix)
        if layer in LAYERS and (own := schema(name, layer)):
            node.relation_name = node.relation_name and node.relation_name.replace(f'"{node.schema}".', f'"{own}".')
            node.schema = own
    manifest.build_flat_graph()  # what macros see


if __name__ == "__main__":
    run_main(main)
