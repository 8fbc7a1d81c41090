"""What is wrong with the rules that the sources' YAML declares: found before dbt runs, so that it costs one feed only.

Without the database, names are checked: of parse types, columns, macros and models. With it, each condition is planned.
"""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from granary import declared, project, spelling
from granary.declared import Entity
from granary.project import GranaryError

SETTINGS = ("parse", "default", "required", "optional", "must", "should", "personal", *spelling.SETTINGS)
CONDITIONS = ("must", "should")
DELIVERED_ON = "{delivered_on}"  # what `should` may name besides columns: the day of the delivery
MACRO = re.compile(r"{%-?\s*macro\s+(\w+)\s*\(")
BRACES = re.compile("{(.*?)}")


def problems(connection: psycopg2.extensions.connection | None = None) -> dict[str, str]:
    """Return what is wrong, by <feed>.<table>: the file, the table, the column, and the way out."""
    entities, unusable = declared.declarations()
    registered = declared.registry() if unusable else {}
    found = {
        f"{feed}.{table}": why.replace(f"{project.ROOT}/", "")
        for feed, why in unusable.items()
        for table in registered.get(feed) or ["*"]
    }
    found |= tables_to_come(entities.values(), connection) if connection else {}
    return found | problems_of(entities.values(), connection)


def problems_of(entities: Iterable[Entity], connection: psycopg2.extensions.connection | None = None) -> dict[str, str]:
    """Return what is wrong with the rules of landing tables that can be read, as `problems` does."""
    found: dict[str, str] = {}
    macros, models, types = known_macros(), known_models(), types_read()
    for entity in entities:
        wrong = next(wrong_names(entity, macros, models), None) or (connection and wrong_sql(entity, types, connection))
        if wrong:
            where = entity.path.relative_to(project.ROOT).as_posix()
            found[f"{entity.feed}.{entity.name}"] = f"{where}: table {entity.name}, {wrong}"
    return found


def tables_to_come(entities: Iterable[Entity], connection: psycopg2.extensions.connection) -> dict[str, str]:
    """Return which tables were declared after the last run of bin/ingest, which creates them."""
    with connection, connection.cursor() as cursor:
        cursor.execute(  # the catalog shows them to every role
            "select relname from pg_class inner join pg_namespace as n on n.oid = relnamespace and nspname = 'raw'"
        )
        existing = {name for (name,) in cursor.fetchall()}
    return {
        f"{entity.feed}.{entity.name}": f"raw.{entity.table} doesn't exist yet: run bin/ingest, which creates it"
        for entity in entities
        if "_batches" in existing and entity.table not in existing
    }


def known_macros() -> set[str]:
    """Return the names of the project's macros."""
    files = filter(Path.is_file, (project.ROOT / "dbt" / "macros").rglob("*.sql"))
    return {name for file in files for name in MACRO.findall(file.read_text("utf-8"))}


def known_models() -> set[str]:
    """Return the names of the project's models."""
    return {file.stem for file in declared.models_directory().rglob("*.sql")}


def types_read() -> dict[str, str]:
    """Return the SQL types of parse types, where the macro's YAML says them (config.meta.returns)."""
    found = {"text": "text"}
    for path, text in declared.yaml_texts(project.ROOT / "dbt" / "macros", "returns"):
        for macro in declared.document_of(path, text).get("macros") or []:
            returns = declared.meta_of(macro).get("returns")
            if returns and macro["name"].startswith("parse_"):
                found[macro["name"].removeprefix("parse_")] = str(returns)
    return found


# -- Names -------------------------------------------------------------------------------------------------------------


def wrong_names(entity: Entity, macros: set[str], models: set[str]) -> Iterator[str]:
    """Yield what names nothing, or isn't a valid value of its setting."""
    parsers = [name.removeprefix("parse_") for name in macros if name.startswith("parse_")]
    for column, rules in entity.rules.items():
        for setting in rules.keys() - {*SETTINGS}:
            if meant := difflib.get_close_matches(setting, SETTINGS, n=1, cutoff=0.8):
                yield f"column {column}: unknown setting {setting}: did you mean {meant[0]}?"
        parse = rules.get("parse") or "text"
        if parse not in parsers:
            yield f"column {column}: there is no macro parse_{parse} for `parse: {parse}`: {choice(parse, parsers)}"
        if not isinstance(rules.get("required") or False, bool):
            yield f"column {column}: `required` is {rules['required']!r}: write true or false"
        for problem in spelling.problems(rules, entity.columns):
            yield f"column {column}: {problem}"
        for setting in CONDITIONS:
            condition, where = rules.get(setting) or "", f"column {column}: `{setting}`"
            if not isinstance(condition, str):
                yield f"{where} is {condition!r}: write a condition in quotes, with columns in braces"
            else:
                named = condition.replace(DELIVERED_ON, "") if setting == "should" else condition
                yield from unknown_columns(where, named, entity)
    try:
        yield from wrong_meta(entity, macros, models)
    except GranaryError as error:  # of models_read
        yield str(error).partition(", ")[2]
    except (AttributeError, KeyError, TypeError) as error:
        yield f"not a valid meta: {error!r}: compare it with docs/architecture.md, What a source tells the core"


def wrong_meta(entity: Entity, macros: set[str], models: set[str]) -> Iterator[str]:
    """Yield what the table's `current_version` and `amounts` name that there is not."""
    for model in declared.models_read(entity):
        if model not in models:
            yield f"meta: there is no model {model}: {choice(model, models)}"
    for part in (entity.meta.get("current_version") or {}).get("delivered_key") or []:
        if not isinstance(part, str):
            yield from wrong_macro("`delivered_key`", part, macros)
            yield from unknown_columns("`delivered_key`", braced(part["columns"]), entity)
    for amount in entity.meta.get("amounts") or []:
        for side in ("delivered", "staged"):
            given, where = amount[side], f"amount {amount['measure']}: `{side}`"
            if not isinstance(given, str):
                yield from wrong_macro(where, given, macros)
                given = braced(given["columns"])
            if side == "delivered":  # the other names columns of staging
                yield from unknown_columns(where, given, entity)


def wrong_macro(where: str, given: dict[str, Any], macros: set[str]) -> Iterator[str]:
    """Yield that a macro doesn't exist, if it doesn't."""
    if given["macro"] not in macros:
        yield f"{where} names the macro {given['macro']}, which does not exist: {choice(given['macro'], macros)}"


def braced(columns: Iterable[str]) -> str:
    """Return names of columns as conditions have them."""
    return "".join(f"{{{column}}}" for column in columns)


def unknown_columns(where: str, text: str, entity: Entity) -> Iterator[str]:
    """Yield the names in braces that are no columns of the table."""
    for name in BRACES.findall(text):
        if name not in entity.columns:
            yield f"{where} names {{{name}}}, which is not a column of the table: {choice(name, entity.columns)}"


def choice(name: Any, names: Iterable[str]) -> str:
    """Return the names that could be meant, in words."""
    close = difflib.get_close_matches(str(name), [*names], n=1)
    return f"did you mean {close[0]}?" if close else f"choose from {', '.join(sorted(names)[:20])}"


# -- Conditions --------------------------------------------------------------------------------------------------------


def wrong_sql(entity: Entity, types: dict[str, str], connection: psycopg2.extensions.connection) -> str | None:
    """Return what the database says of the first condition that it can't plan; None if there is none.

    A condition over a parse type whose SQL type nobody has declared can't be checked.
    """
    known = {name: types.get(rules.get("parse") or "text") for name, rules in entity.rules.items()}
    known[DELIVERED_ON.strip("{}")] = "date"
    values = ", ".join(f'cast(null as {kind}) as "{name}"' for name, kind in known.items() if kind)
    for column, setting in ((column, setting) for column in entity.rules for setting in CONDITIONS):
        condition = entity.rules[column].get(setting) or ""
        if condition and all(known[name] for name in BRACES.findall(condition)):
            sql = condition.replace("{", 'parsed."').replace("}", '"')
            with contextlib.closing(connection.cursor()) as cursor:
                try:
                    cursor.execute(f"explain select 1 from (select {values}) as parsed where ({sql}) is false")
                except psycopg2.Error as error:
                    said = str(error).partition("\n")[0]
                    return f"column {column}: the condition `{setting}: {condition}` can't be used: {said}: correct it"
                finally:
                    connection.rollback()
    return None


def check(feed: str | None = None) -> None:
    """Raise GranaryError that says what is wrong with names, if anything is: of a feed, or of all."""
    if found := {name: why for name, why in problems().items() if not feed or name.startswith(f"{feed}.")}:
        raise GranaryError("\n  ".join(["the sources declare what can't be used:", *found.values()]))
