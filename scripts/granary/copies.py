"""Build the models in schemas of their own, under stated circumstances: a copy. The warehouse stays as it is.

usage: bin/copy create NAME [option ...]   build a copy; its marts are in the schema copy_NAME__marts
       bin/copy list                       say what each copy is, and by what code it was built
       bin/copy refresh NAME               build it again, as it was asked for, with the code and the batches of now
       bin/copy drop NAME ...              remove copies; 'as_of_*' is all whose names begin so

  --as-of WHEN            what was known at the end of a day (2026-02-03, in UTC), until the batch after this one came
                          (28), or when a build began (its build_id in marts.build_log, or the beginning of it)
  --ref REV               by the models of another commit
  --without-batch NUMBER  as if the batch had not been delivered (may be repeated, like all that follow)
  --ignore-merge A:B      as if A had not been merged into B
  --merge A:B             as if A had been merged into B as well
  --seed NAME=FILE        the rows of a CSV file in place of a seed's
  --select MART           only the mart, and what it needs
"""

from __future__ import annotations

import argparse
import contextlib
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
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql

from granary import dbt, last_build, project
from granary.circumstances import Circumstances, Known, check, known_at, merge_of, read_seeds, seeds_of
from granary.project import ROOT, GranaryError, run_main, schema_prefix, target_directory
from granary.server.connection import connect
from granary.server.lock import keep_lock, take_lock
from granary.text import LONGEST_NAME, print_table

LAYERS = ("raw", "staging", "intermediate", "marts")
NAME = re.compile("[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = LONGEST_NAME - len("copy___intermediate")
CACHED = "as_of_"  # how the names begin that bin/as-of gives
RAW_SCHEMA = Path("dbt", "macros", "ledger", "raw_schema.sql")  # without this macro, models only read the schema raw
RAW_SQL = Path(__file__).with_suffix(".sql")
LANDING_TABLES = """
    select relname, array_agg(attname::text order by attnum)
    from pg_class
    inner join pg_attribute on attrelid = pg_class.oid and attnum > 0 and not attisdropped
    where relnamespace = 'raw'::regnamespace and relkind = 'r' and not starts_with(relname, '_')
    group by relname
    having '_batch_id' = any(array_agg(attname))
"""
LANDING_VIEW = """
    create view {raw}.{landing} as
    select {columns} from raw.{landing} where _batch_id <= {last_batch} and _batch_id <> all({without})
"""


class Copy(NamedTuple):
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
        list_copies()
        return 0
    with turn(f"bin/copy {options.command}") as connection:
        with connection, connection.cursor() as cursor:
            if options.command == "drop":
                for pattern in options.names:
                    found = fnmatch.filter(names(cursor), pattern) or [existing(cursor, pattern).name]
                    drop(cursor, found)
                    print(f"dropped   {', '.join(found)}")
                return 0
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
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="create, list, refresh or drop", help=argparse.SUPPRESS
    )
    making, refreshing, dropping, _ = (
        commands.add_parser(name, prog=f"bin/copy {name}", **form) for name in ("create", "refresh", "drop", "list")
    )
    for command in (making, refreshing):
        command.add_argument("name", metavar="NAME", help=argparse.SUPPRESS)
    dropping.add_argument("names", metavar="NAME", nargs="+", help=argparse.SUPPRESS)
    for field in dataclasses.fields(Circumstances):
        once = {"default": ""} if field.name in ("as_of", "ref") else {"default": [], "action": "append"}
        kind = int if field.name == "without_batch" else str
        making.add_argument(f"--{field.name.replace('_', '-')}", type=kind, help=argparse.SUPPRESS, **once)
    return parser.parse_args()


def list_copies() -> None:
    """Print a line for each copy."""
    with rights(), contextlib.closing(connect()) as connection, connection, connection.cursor() as cursor:
        copies = [read(cursor, name) for name in names(cursor)]
    header = ("copy", "state", "last batch", "created (UTC)", "code", "circumstances")
    rows = [(c.name, c.state, str(c.last_batch), c.created_at, code_of(c), str(c.circumstances)) for c in copies]
    print_table(header, rows) if rows else print("there are no copies: bin/copy --help says how to make one")


@contextlib.contextmanager
def turn(what: str) -> Iterator[psycopg2.extensions.connection]:
    """Take the lock of loads and builds until the process ends, and yield another connection."""
    os.environ["GRANARY_ENGINE"] = "postgres"  # by which copies are built
    holder = dbt.connect_dbt()
    take_lock(holder, what)
    keep_lock(holder, dbt.stop_without_lock)
    with rights(), contextlib.closing(connect()) as connection:
        yield connection


@contextlib.contextmanager
def rights() -> Iterator[None]:
    """Raise GranaryError where the user lacks a right."""
    try:
        yield
    except psycopg2.errors.InsufficientPrivilege as error:
        raise GranaryError(f"the user may not do this: {str(error).splitlines()[0]}") from None


# -- What there is -----------------------------------------------------------------------------------------------------


def schema(name: str, layer: str) -> str:
    """Return the name of a schema of a copy."""
    return f"copy_{name}__{layer}"


def table_of(name: str) -> sql.Identifier:
    """Return the table in which it is written down what a copy is."""
    return sql.Identifier(schema(name, "raw"), "_copy")


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
    cursor.execute(sql.SQL(f"select {columns} from {{}}").format(table_of(name)))
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
    own = [schema(name, layer) for layer in LAYERS]
    cursor.execute("select nspname from pg_namespace where nspname = any(%s)", [own])
    if cursor.rowcount:
        raise GranaryError(f"there is a schema {cursor.fetchone()[0]} that is no copy's: choose another name")


def drop(cursor: Any, found: list[str]) -> None:
    """Drop copies, in the cursor's transaction."""
    for name in found:
        drop_schemas(cursor, name)
        for folder in (name, f"{name}__code"):
            shutil.rmtree(artifacts() / folder, ignore_errors=True)


def drop_schemas(cursor: Any, name: str) -> None:
    """Drop the schemas of a copy, in the cursor's transaction."""
    cursor.execute("set local client_min_messages = warning")
    for layer in LAYERS:
        cursor.execute(sql.SQL("drop schema if exists {} cascade").format(sql.Identifier(schema(name, layer))))


@functools.cache
def artifacts() -> Path:
    """Return the folder of the copies' artifacts; one for each, and not changed by a build, which has its own."""
    return target_directory() / "copies"


# -- The code ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def code_for(ref: str, folder: Path) -> Iterator[tuple[Path, str, str | None]]:
    """Yield the root of the project whose models are built, a hash of its code, and its commit, if there is one.

    The models of another commit are in the folder until the block ends. Raises GranaryError.
    """
    if not ref:
        yield ROOT, fingerprint(), revision()
        return
    commit = git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").decode().strip()
    if not commit:
        why = (
            "there is no such commit" if git("rev-parse", "HEAD") else "this is not a git repository, or git is missing"
        )
        raise GranaryError(f"--ref {ref}: {why}")
    if git("status", "--porcelain", "--", "dbt"):
        print(f"changes that are not committed are not part of {ref}", file=sys.stderr)
    try:
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit, "dbt"))) as archive:
            archive.extractall(folder, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
        if not (folder / RAW_SCHEMA).exists():
            raise GranaryError(f"--ref {ref}: the commit is older than bin/copy: its models only read the schema raw")
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
        *map(settings.get, last_build.DBT),
    ]
    return hashlib.sha256(json.dumps(built_by).encode()).hexdigest()


# -- Making a copy -----------------------------------------------------------------------------------------------------


def create(connection: psycopg2.extensions.connection, name: str, asked: Circumstances) -> int:
    """Make a copy, in place of the one of that name, and return its last batch. Raises GranaryError.

    It is written down, as unfinished, in the transaction that drops the old one.
    """
    with code_for(asked.ref, artifacts() / f"{name}__code") as (root, code, commit):
        with connection, connection.cursor() as cursor:
            known = known_at(cursor, asked.as_of)
            check(cursor, asked, known, root)
            seeds = seeds_of(asked, root)
            drop_schemas(cursor, name)
            create_raw(cursor, name, asked, known, root)
            values = [json.dumps(dataclasses.asdict(asked)), known.batch, known.at, known.fingerprint, code, commit]
            insert = "insert into {} values (%s, 'unfinished', %s, %s, %s, %s, %s)"
            cursor.execute(sql.SQL(insert).format(table_of(name)), values)
        with as_before():
            is_built = build(connection, name, root, asked.select, seeds)
        if not is_built:
            ways = f"bin/copy refresh {name}, or bin/copy drop {name}"
            raise GranaryError(f"the copy {name} is unfinished, because of what is above: then run {ways}")
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("update {} set state = 'complete'").format(table_of(name)))
    return known.batch


@contextlib.contextmanager
def as_before() -> Iterator[None]:
    """Undo afterwards what a block has changed of the environment, and of where the project is."""
    environment, root = dict(os.environ), project.ROOT
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        project.ROOT = root


def create_raw(cursor: Any, name: str, asked: Circumstances, known: Known, root: Path) -> None:
    """Create what a copy has for the schema raw: see copies.sql."""
    merges = [merge_of(merge, root) for merge in asked.merge]
    table = merges[0].table if merges else None
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
        listed = sql.SQL(", ").join(map(sql.Identifier, columns))
        view = sql.SQL(LANDING_VIEW).format(**values, landing=sql.Identifier(landing), columns=listed)
        for number, merge in enumerate(merges if table and table.table == landing else []):
            row = {"_batch_id": known.batch + 1, "_row_id": number - len(merges)} | merge.ids
            row[merge.declaration["at"]] = f"{known.loaded_at}Z"
            added = sql.SQL(", ").join(sql.Literal(row.get(column)) for column in columns)
            view += sql.SQL(" union all select {}").format(added)
        cursor.execute(view)


def build(
    connection: psycopg2.extensions.connection, name: str, root: Path, marts: Sequence[str], seeds: Mapping[str, str]
) -> bool:
    """Build a copy, or only some marts with what they need; return whether all of it could be built."""
    from dbt.cli.main import dbtRunner  # takes a second

    folder, parsed_before = artifacts() / name, target_directory() / "partial_parse.msgpack"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if root == ROOT and parsed_before.exists():  # it takes ten seconds to parse everything
        shutil.copy(parsed_before, folder)
    os.environ |= {"DBT_TARGET_PATH": str(folder)}
    os.environ |= dict.fromkeys(("DBT_PROJECT_DIR", "DBT_PROFILES_DIR"), str(root / "dbt"))
    project.ROOT = root  # where the declarations are read
    dbt.leave_out_broken_tables(connection)
    dbt.be_interruptible()
    parsed = dbtRunner().invoke(["--log-level", "warn", "parse"])
    if not parsed.success:
        return False
    move(parsed.result, name)
    os.environ |= {"GRANARY_SCHEMA_PREFIX": schema(name, ""), "GRANARY_RAW_SCHEMA": schema(name, "raw")}
    for seed, text in seeds.items():  # a path that doesn't exist in the project is looked for in root_path
        node = parsed.result.nodes[f"seed.granary.{seed}"]
        node.root_path, node.original_file_path = str(folder), f"seeds_of_copy/{seed}.csv"
        (path := folder / node.original_file_path).parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    runs = [["--select", *seeds, "--indirect-selection", "cautious"]] if seeds else []
    selection = ["--select", *(f"+{mart}" for mart in marts)] if marts else []
    runs.append([*selection, "--exclude-resource-type", "test", "unit_test"])
    return not any(dbt.run_with_bar("build", ["--no-write-json", "build", *run], parsed.result) for run in runs)


def move(manifest: Any, name: str) -> None:
    """Give what dbt has parsed the schemas of a copy. So it needs to parse no more than for the warehouse itself."""
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        layer = node.schema.removeprefix(schema_prefix())
        if layer in LAYERS:
            own = schema(name, layer)
            node.relation_name = node.relation_name and node.relation_name.replace(f'"{node.schema}".', f'"{own}".')
            node.schema = own
    manifest.build_flat_graph()  # which macros read


if __name__ == "__main__":
    run_main(main)
