"""Look at files, ask what they don't tell, and write a feed that reads them, or a table more of a feed that exists.

The files are loaded as text into a transaction that is undone, and the project's own macros are tried on all rows: what
is proposed is what a build will read. What can be told from the data is told, with the evidence as a comment. What
can't, such as the currency of amounts without a sign, is asked; without a terminal, and without --set, the question
stays in the source, and every build fails with it.

Where the feed exists, its source and its page of docs get lines at their ends; all else in them stays as it is.
Nothing is overwritten, and nothing is loaded: the next commands are printed.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from psycopg2 import sql

from granary import declared, project
from granary.declared import Entity
from granary.loader import landing, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.load import load
from granary.loader.raw_tables import Session
from granary.new_feed import existing, readings, texts
from granary.new_feed.layouts import Layout, headers_of, layout_of, numeric_columns
from granary.new_feed.readings import Column, Question
from granary.project import GranaryError, check_packages, replacing
from granary.text import column_name, counted, print_table

CURRENCY = Question(
    "in which currency are the amounts? Nothing in the files says it", ("USD", "EUR", "GBP"), "currency"
)
WHOLE, CENTS = "units", "cents"
UNITS = Question("are the amounts in units or in cents? They are all whole numbers", (WHOLE, CENTS), "minor_units")
NO_KEY = "none"


def new(options: argparse.Namespace) -> None:
    """Write the feed that the command line asks for."""
    check_packages("engines", None, "duckdb")
    feed, entity, paths = options.feed, options.entity, [Path(name) for name in options.files]
    check(feed, entity, paths)
    source = existing.source_of(feed)
    try:
        layout = layout_of(paths[0])
    except (OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip data
        raise GranaryError(f"{paths[0]}: {error}") from None
    meta = existing.meta_for_all(source, feed) if source else {}
    layout.format = existing.told_apart(paths[0], layout.format, meta.get("format") or {})
    for each in layout.evidence:
        print(f"{paths[0].name}: {each}")
    with tempfile.TemporaryDirectory() as folder:
        files = copies(Path(folder), feed, entity, paths, layout, meta)
        check_targets(files)
        with contextlib.closing(Session()) as session, session.transaction("bin/feed new", keep=False) as cursor:
            raw_tables.prepare(cursor, [files[0].entity])
            with raw_tables.undone(cursor):
                columns, key = look(cursor, files, options.key)
    answer(columns, dict(options.answers))
    table = texts.table(feed, entity, layout, columns, key)
    text = existing.with_table(source.read_bytes().decode(), feed, table) if source else texts.source(feed, table)
    write(feed, entity, source, text, columns, key)
    for file, path in zip(files, paths, strict=True):
        target = project.data_folder() / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            shutil.copy(path, target)
    if text is None:
        raise GranaryError(
            f"{source.relative_to(project.ROOT)} can't be extended safely, because the tables of {feed} aren't a list"
            f" that goes on to its end: add these lines to `tables` yourself, then run bin/feed sync:\n{table}"
        )
    print(f"next:  bin/ingest {feed} && bin/dbt --bar build --select group:{feed} tag:ledger")


def check_targets(files: list[LandingFile]) -> None:
    """Raise GranaryError if another file is where a file would land."""
    for file in files:
        target = project.data_folder() / file.name
        if target.exists() and not filecmp.cmp(file.path, target, shallow=False):
            raise GranaryError(f"{target} is another file, and nothing is overwritten: rename {file.path.name}")


def check(feed: str, entity: str, paths: list[Path]) -> None:
    """Raise GranaryError for names that can't be used, and files that aren't there."""
    for name in (feed, entity):
        if column_name(name) != name or "__" in name:
            raise GranaryError(f"{name} is not a name for models: write it as {column_name(name)}")
    if (feed, entity) in declared.declarations()[0]:
        raise GranaryError(f"the feed {feed} has a table {entity} already: choose another name, or try bin/feed check")
    if feed in declared.FOLDERS + declared.GENERATOR_MODULES:
        raise GranaryError(f"a feed can't be called {feed}: choose another name")
    if again := [path for path in paths if [other.name for other in paths].count(path.name) > 1]:
        raise GranaryError(f"{again[0]} and {again[1]} have the same name: rename one of them")
    for path in paths:
        if not path.is_file():
            raise GranaryError(f"{path} is not a file")
        if not landing.FORMAT.search(path.name):
            raise GranaryError(f"{path}: not a kind of file that can be loaded (docs/formats.md): export it as CSV")


def copies(
    root: Path, feed: str, entity: str, paths: list[Path], layout: Layout, meta_for_all: Mapping[str, Any]
) -> list[LandingFile]:
    """Copy the files to where they would land, below another root; the meta is that of all tables of the source."""
    meta = {**meta_for_all, "format": {**(meta_for_all.get("format") or {}), **layout.format}}
    meta |= {"records": layout.records} if layout.records else {}
    path = project.ROOT / "dbt/models/staging" / feed / f"_{feed}__sources.yml"
    declaration = Entity(feed, entity, f"{feed}__{entity}", (), path, meta)
    folder = root / "incremental" / feed / entity
    folder.mkdir(parents=True)
    for each in paths:
        shutil.copy(each, folder)
    return [LandingFile(root, f"incremental/{feed}/{entity}/{each.name}", declaration) for each in paths]


def look(cursor: Any, files: list[LandingFile], wanted: str | None) -> tuple[list[Column], list[str]]:
    """Load the files; print and return how their columns are read, and which of them are the key."""
    table = files[0].entity.table
    for file in files:
        print(f"{file.path.name}: {load(cursor, file)}")
    of_files = "attrelid = %s::regclass and attnum > 2 and not attisdropped"  # the first two are provenance
    cursor.execute(f"select attname from pg_attribute where {of_files} order by attnum", [f'raw."{table}"'])
    names = [name for (name,) in cursor.fetchall()]
    nulls = files[0].entity.meta.get("nulls", declared.project_vars().get("nulls") or [])
    delivered: dict[str, str] = {}
    for file in files:
        delivered = {**headers_of(file), **delivered}
    headers = {name: delivered.get(name, name) for name in names}
    numeric = set.intersection(*map(numeric_columns, files))
    columns = readings.read_columns(cursor, table, headers, numeric, nulls)
    cursor.execute("select word from pg_get_keywords() where catcode in ('R', 'T')")
    words = {word for (word,) in cursor.fetchall()}
    for column in columns:
        column.is_reserved = column.name in words or not re.match("[a-z_]", column.name)
        column.is_complete &= column.read == column.values  # a value that is not read would cost its row
    print_table(
        ["column", "read as", "would be rejected", "why"],
        [
            [column.name, str(column.reading), column.values - column.read, column.evidence.partition(" read")[0]]
            for column in columns
        ],
    )
    return columns, key_of(cursor, table, columns, wanted)


def key_of(cursor: Any, table: str, columns: list[Column], wanted: str | None) -> list[str]:
    """Return the columns of the key: those that are wanted, or else the first one that looks and behaves like a key."""
    names = [column.name for column in columns]
    if wanted == NO_KEY:
        return []
    chosen = [column_name(name) for name in wanted.split(",")] if wanted else []
    if unknown := [name for name in chosen if name not in names]:
        raise GranaryError(f"--key: there is no column {unknown[0]}: choose from {', '.join(names)}")
    for candidate in [chosen] if chosen else [[each.name] for each in columns if readings.says(each.name, "key")]:
        parts = sql.SQL(", ").join(map(sql.Identifier, candidate))
        cursor.execute(
            sql.SQL("select count(*), count(distinct ({})) from raw.{}").format(parts, sql.Identifier(table))
        )
        rows, keys = cursor.fetchone()
        if chosen or rows == keys:
            again = f", {counted(rows - keys, 'row')} of them later versions" if rows > keys else ""
            print(f"key: {', '.join(candidate)}: {counted(keys, 'key')} in {counted(rows, 'row')}{again}")
            return candidate
    print("key: none was found, so the mart has a row per delivered row; --key COLUMN names one")
    return []


def answer(columns: list[Column], given: dict[str, str]) -> None:
    """Put answers into the readings: those that are given, or what the user says. The same question is asked once."""
    codes = next((column.name for column in columns if readings.says(column.name, "currency")), None)
    money = [column for column in columns if column.is_money]
    for column in money:
        if "currency" not in dict(column.reading.settings) and codes:
            column.take("currency_from", codes)
    known: dict[str, str] = {}
    for column in columns:
        questions = [column.question] if column.question else []
        settings = dict(column.reading.settings)
        if column in money and not {"currency", "currency_from"} & settings.keys():
            questions.append(CURRENCY)
        if column in money and column.is_whole:
            questions.append(UNITS)
        for question in questions:
            named = f"{column.name}.{question.setting}", question.setting
            said = next((given[name] for name in named if name in given), None) or known.get(question.text)
            known[question.text] = said = said or asked(column, question)
            if question is not UNITS or said != WHOLE:
                column.take(question.setting, 2 if question is UNITS and said == CENTS else said)


def asked(column: Column, question: Question) -> str:
    """Return what the user answers; without a terminal the question, which every build will ask again."""
    choice = " or ".join(question.answers)
    if not sys.stdin.isatty():
        print(f"open question: {column.name}: {question.text} --set {column.name}.{question.setting}= {choice}")
        return f"? {choice}"
    while True:
        said = input(f"{column.name}: {question.text} [{choice}] ").strip()
        if said in question.answers or (question is CURRENCY and re.fullmatch("[A-Z]{3}", said)):
            return said


def write(
    feed: str, entity: str, source: Path | None, source_text: str | None, columns: list[Column], key: list[str]
) -> None:
    """Write the models of a table, its source and its docs. An existing source, and a page of docs, become longer.

    Without a text, the source is left as it is. Raises GranaryError before the first file if a new one is there.
    """
    files = texts.models(feed, entity, columns, key)
    longer, section = {}, texts.section(feed, entity, columns, key)
    page = project.ROOT / f"docs/feeds/{feed}.md"
    if not source:
        files[f"dbt/models/staging/{feed}/_{feed}__sources.yml"] = source_text
    elif source_text:
        longer[source] = source_text
    if source and page.exists():
        longer[page] = f"{page.read_bytes().decode().rstrip()}\n\n## {entity}\n\n{section}"
    else:
        files[f"docs/feeds/{feed}.md"] = texts.page(feed, section)
    new = {project.ROOT / name: text for name, text in files.items()}
    if there := [path for path in new if path.exists()]:
        name = there[0].relative_to(project.ROOT)
        raise GranaryError(f"{name} exists, and nothing is overwritten: remove it, or choose another name")
    for path, text in (new | longer).items():
        with replacing(path) as file:
            file.write(text.encode())
        done = "extended" if path in longer else "wrote"
        print(f"{done} {path.relative_to(project.ROOT)} ({counted(text.count(chr(10)), 'line')})")
