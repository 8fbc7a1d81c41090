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
import difflib
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

from granary import declared, project, spelling
from granary.declared import Entity
from granary.loader import landing, raw_tables
from granary.loader.landing import LandingFile
from granary.loader.load import load
from granary.loader.raw_tables import Session
from granary.loader.results import Result
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
MOST_REJECTED = 0.05  # share of the lines of a file
NO_KEY = "none"


def new(options: argparse.Namespace) -> None:
    """Write the feed that the command line asks for."""
    check_packages("engines", None, "duckdb")
    feed, entity, paths = options.feed, options.entity, [Path(name) for name in options.files]
    check(feed, entity, paths)
    source = existing.source_of(feed)
    layout = common_layout(paths)
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


def common_layout(paths: list[Path]) -> Layout:
    """Return the layout of the first file, and say which of the others have another one.

    Raises GranaryError if a file can't be read, or if no encoding is right for all of them.
    """
    found: list[Layout] = []
    for path in paths:
        try:
            found.append(layout_of(path))
        except (OSError, EOFError, zlib.error) as error:  # the last two: damaged gzip data
            raise GranaryError(f"{path}: {error}") from None
    layout = found[0]
    telling = [(path, each) for path, each in zip(paths, found, strict=True) if not each.is_ascii]
    encodings = {each.format.get("encoding", "utf-8"): path for path, each in telling}
    if len(encodings) > 1:
        listed = ", ".join(f"{path.name} is {encoding}" for encoding, path in encodings.items())
        raise GranaryError(f"the files have several encodings: {listed}: make a feed of those with the same one")
    if "encoding" not in layout.format and (encoding := [*encodings, "utf-8"][0]) != "utf-8":
        layout.format["encoding"] = encoding
        layout.evidence.append(f"{encodings[encoding].name}: {telling[0][1].evidence[0]}")
    for path, other in zip(paths[1:], found[1:], strict=True):
        names = (layout.format.keys() | other.format.keys()) - {"encoding"}
        for name in sorted(name for name in names if layout.format.get(name) != other.format.get(name)):
            print(
                f"{path.name}: {name} {other.format.get(name, 'as usual')!r}, but it will be read like {paths[0].name}:"
                f" {layout.format.get(name, 'as usual')!r}"
            )
    return layout


def check_rejected(cursor: Any, results: Mapping[str, Result]) -> None:
    """Raise GranaryError if so many lines of a file are rejected that it is read in a wrong way."""
    for name, result in results.items():
        if result.batch.rows_rejected > MOST_REJECTED * result.batch.rows_read:
            rejected = f"{result.batch.rows_rejected:,} of {counted(result.batch.rows_read, 'line')}"
            raise GranaryError(
                f"{name}: {rejected} would be rejected, so nothing was written"
                f" ({raw_tables.first_rejected(cursor, result.batch)}): correct the file, or make a table of its own of"
                " those like it"
            )


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
    results: dict[str, Result] = {}
    for file in files:
        results[file.path.name] = result = load(cursor, file)
        print(f"{file.path.name}: {result}")
    check_rejected(cursor, results)
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
        ]
        + [
            [
                name,
                "lines",
                result.batch.rows_rejected,
                f"{result.batch.rows_rejected:,} of {result.batch.rows_read:,} lines",
            ]
            for name, result in results.items()
            if result.batch.rows_rejected
        ],
    )
    if lacking := readings.lacking_at_the_end(cursor, table, columns):
        print(
            f"only the last row has no {' and no '.join(lacking)}: if it holds totals, reject it by `required: true` of"
            f" {lacking[0]}, or by a `must` of another column (docs/formats.md)"
        )
    return columns, key_of(cursor, table, files[0].entity.name, columns, wanted)


def key_of(cursor: Any, table: str, entity: str, columns: list[Column], wanted: str | None) -> list[str]:
    """Return the columns of the key: those that are wanted, the only ones that it can be, or what the user says.

    Without a terminal, nothing is the key until it is named: a wrong one would lose rows.
    """
    names = [column.name for column in columns]
    chosen = parsed_key(wanted, names) if wanted else None
    if chosen is None:
        found = [name for name in likely_keys(entity, names) if is_unique(cursor, table, [name])]
        is_certain = len(found) == 1 and (found[0] == names[0] or found[0] in own_ids(entity))
        chosen = found if is_certain else asked_key(found, names)
    if not chosen:
        print("key: none, so the mart has a row per delivered row; --key COLUMN names one")
        return []
    rows, keys = rows_and_keys(cursor, table, chosen)
    again = f", {counted(rows - keys, 'row')} of them later versions" if rows > keys else ""
    print(f"key: {', '.join(chosen)}: {counted(keys, 'key')} in {counted(rows, 'row')}{again}")
    return chosen


def parsed_key(text: str, names: list[str]) -> list[str]:
    """Return the columns of a key on the command line. Raises GranaryError for one that isn't there."""
    if text == NO_KEY:
        return []
    chosen = [column_name(name) for name in text.split(",")]
    if unknown := [name for name in chosen if name not in names]:
        raise GranaryError(f"--key: there is no column {unknown[0]}: choose from {', '.join(names)}")
    return chosen


def own_ids(entity: str) -> tuple[str, ...]:
    """Return the names that only the key of a table has: id, orders_id and order_id for orders."""
    singular = re.sub("ies$", "y", entity) if entity.endswith("ies") else entity.removesuffix("s")
    return "id", f"{entity}_id", f"{singular}_id"


def likely_keys(entity: str, names: list[str]) -> list[str]:
    """Return the columns that may be the key, by their names; the table's own id alone, if it has one."""
    own = [name for name in own_ids(entity) if name in names]
    return own[:1] or [name for name in names if readings.says(name, "key") and not readings.says(name, "no key")]


def is_unique(cursor: Any, table: str, key: list[str]) -> bool:
    """Return whether each row has another key."""
    rows, keys = rows_and_keys(cursor, table, key)
    return rows == keys


def rows_and_keys(cursor: Any, table: str, key: list[str]) -> tuple[int, int]:
    """Return how many rows and different keys there are."""
    parts = sql.SQL(", ").join(map(sql.Identifier, key))
    cursor.execute(sql.SQL("select count(*), count(distinct ({})) from raw.{}").format(parts, sql.Identifier(table)))
    return cursor.fetchone()


def asked_key(found: list[str], names: list[str]) -> list[str]:
    """Return the columns that the user says; nothing without a terminal."""
    choice = " or ".join([*found, NO_KEY])
    question = "which column identifies a row, so that a later row with it is a later version?"
    if not sys.stdin.isatty():
        print(f"open question: key: {question} --key {choice}")
        return []
    while True:
        said = input(f"key: {question} [{choice}] ").strip()
        try:
            if said:
                return parsed_key(said, names)
        except GranaryError as error:
            print(error)


def answer(columns: list[Column], given: dict[str, str]) -> None:
    """Put answers into the readings: those that are given, or what the user says. The same question is asked once.

    Raises GranaryError for a given answer that no column takes.
    """
    check_answers(columns, given)
    codes = [column.name for column in columns if column.is_currency]
    money = [column for column in columns if column.is_money]
    known: dict[tuple[str, ...], tuple[str, str]] = {}  # what was said, and where
    used: set[str] = set()  # of the answers that name no column
    for column in columns:
        questions = [column.question] if column.question else []
        if column in money and "currency" not in dict(column.reading.settings):
            own = [name for name in codes if name.startswith(column.name)] or codes
            if code := readings.currency_named(column):
                column.take("currency", code)
                column.evidence += f"; {code} by its name"
            elif own and f"{column.name}.currency" not in given:
                column.take("currency_from", own[0])
            else:
                questions.append(CURRENCY)
        if column in money and column.is_whole:
            questions.append(UNITS)
        for question in questions:
            setting, key = question.setting, (question.setting, *question.answers)
            if f"{column.name}.{setting}" in given:
                continue
            if setting in given and key not in known:
                known[key] = given[setting], "--set says"
                used.add(setting)
            if key in known:
                said, other = known[key]
                print(f"{column.name}: {said}, as {other}")
            else:
                said = asked(column, question)
                known |= {} if said.startswith("? ") else {key: (said, f"for {column.name}")}
            column.take(setting, said)
        for setting in spelling.TAKEN_BY:
            if (named := f"{column.name}.{setting}") in given:
                column.take(setting, given[named])
        if column.is_local and "timezone" in given and f"{column.name}.timezone" not in given:
            column.take("timezone", given["timezone"])
            used.add("timezone")
        complete(column, [each.name for each in columns])
    for setting in given.keys() - used:
        if "." not in setting:
            print(f"--set {setting}: no column asks for it; name one: --set COLUMN.{setting}={given[setting]}")


def complete(column: Column, names: list[str]) -> None:
    """Make the answers of a column values of its settings, and say what holds without an answer.

    Raises GranaryError for a value that its setting doesn't take.
    """
    settings = dict(column.reading.settings)
    said = settings.pop("minor_units", None)
    cents = "currency" if "currency_from" in settings else 2  # yen have none
    if said not in (None, WHOLE):
        settings["minor_units"] = cents if said == CENTS else said
    for name in ("minor_units", "scale"):
        if str(settings.get(name)).isdecimal():
            settings[name] = int(settings[name])
    if isinstance(signs := settings.get("currency_signs"), str):
        settings["currency_signs"] = dict(pair.partition(":")[::2] for pair in signs.split(","))
    column.reading = readings.Reading(column.reading.parse, tuple(settings.items()))
    if not any(str(value).startswith("? ") for value in settings.values()):
        rules = {"parse": column.reading.parse, **settings}
        for problem in spelling.problems(rules, tuple(names)):
            raise GranaryError(f"--set: column {column.name}: {problem}")
    zones = {"timezone", "timezone_from", "offset_from"}
    if column.is_local and not zones & settings.keys() and not re.search("(^|_)(utc|gmt)(_|$)", column.name):
        hint = f"no offset: read as UTC; --set {column.name}.timezone=Europe/Berlin"
        print(f"{column.name}: {hint}")
        column.evidence += f"; {hint}"


def check_answers(columns: list[Column], given: dict[str, str]) -> None:
    """Raise GranaryError for an answer to a column or a setting that doesn't exist."""
    names = [column.name for column in columns]
    for name in given:
        column, point, setting = name.rpartition(".")
        for what, said, known in (("column", column, names), ("setting", setting, [*spelling.TAKEN_BY])):
            if said not in known and (point or what == "setting"):
                nearest = difflib.get_close_matches(said, known, 1, 0)
                raise GranaryError(f"--set {name}: there is no {what} {said}: the nearest is {nearest[0]}")


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
