"""What is wrong with the rules of a source is found before dbt runs, and said with the place and the way out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import ROOT, Database
from granary import project, rules
from granary.project import GranaryError

pytestmark = pytest.mark.fast

SOUND: dict[str, dict[str, Any]] = {
    "id": {"parse": "text", "required": True},
    "price": {"parse": "amount", "must": "{price} > 0 and {price} < 1000"},
    "seen_on": {"parse": "date", "default": "2026-01-01", "must": "{seen_on} > '2000-01-01'"},
}
AMOUNT = {
    "measure": "paid",
    "title": "What was paid",
    "delivered": "{price}",
    "staged": "{price_usd}",
    "marts": [{"mart": "fct_food", "amount": "sum(price_usd)"}],
}
# What is changed: of columns, or of the table's meta; and how the message goes on after the name of the table.
WRONG: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "a parse type": (
        {"price": {"parse": "amont"}}, {},
        "column price: there is no macro parse_amont for `parse: amont`: did you mean amount?",
    ),
    "a setting": (
        {"id": {"requird": True}}, {}, "column id: unknown setting requird: did you mean required?"
    ),
    "a word for true": (
        {"id": {"required": "no"}}, {}, "column id: `required` is 'no': write true or false"
    ),
    "a condition that is none": (
        {"price": {"must": 5}}, {},
        "column price: `must` is 5: write a condition in quotes, with columns in braces",
    ),
    "a column in a condition": (
        {"price": {"must": "{pirce} > 0"}}, {},
        "column price: `must` names {pirce}, which is not a column of the table: did you mean price?",
    ),
    "a model": (
        {}, {"current_version": {"model": "int_zoo__foood", "key": ["id"]}},
        "meta: there is no model int_zoo__foood: did you mean int_zoo__food?",
    ),
    "a column of an amount": (
        {}, {"amounts": [AMOUNT | {"delivered": "{prise}"}]},
        "amount paid: `delivered` names {prise}, which is not a column of the table: did you mean price?",
    ),
    "a macro of a key": (
        {}, {"current_version": {"model": "int_zoo__food", "key": ["k"],
                                 "delivered_key": ["id", {"macro": "parse_txet", "columns": ["id"]}]}},
        "`delivered_key` names the macro parse_txet, which does not exist: did you mean parse_text?",
    ),
    "a column of a key": (
        {}, {"current_version": {"model": "int_zoo__food", "key": ["k"],
                                 "delivered_key": [{"macro": "parse_text", "columns": ["idd"]}]}},
        "`delivered_key` names {idd}, which is not a column of the table: did you mean id?",
    ),
    "a macro of an amount": (
        {}, {"amounts": [AMOUNT | {"staged": {"macro": "parse_amonut", "columns": []}}]},
        "amount paid: `staged` names the macro parse_amonut, which does not exist: did you mean parse_amount?",
    ),
    "amounts that are none": ({}, {"amounts": ["paid"]}, "not a valid meta: "),
    "the syntax of a condition": (
        {"price": {"parse": "amount", "must": "{price} >"}}, {},
        'column price: the condition `must: {price} >` can\'t be used: syntax error at or near ")": correct it',
    ),
    "the type of a condition": (
        {"seen_on": {"parse": "date", "must": "{seen_on} > 5"}}, {},
        "column seen_on: the condition `must: {seen_on} > 5` can't be used: operator does not exist: date > integer",
    ),
    "a condition that isn't boolean": (
        {"price": {"parse": "amount", "must": "{price} + 1"}}, {},
        "column price: the condition `must: {price} + 1` can't be used: argument of IS FALSE must be type boolean",
    ),
    "a comment": (
        {"price": {"parse": "amount", "must": "{price} > 0 -- free"}}, {},
        "column price: the condition `must: {price} > 0 -- free` can't be used: syntax error",
    ),
}  # fmt: skip


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a function that declares two tables of a feed: animals, which is sound, and food, as it is told."""
    monkeypatch.setattr(project, "ROOT", tmp_path)
    (folder := tmp_path / "dbt" / "models" / "staging" / "zoo").mkdir(parents=True)
    (tmp_path / "dbt" / "macros").symlink_to(ROOT / "dbt" / "macros")
    for model in ("int_zoo__food", "fct_food"):
        (folder / f"{model}.sql").touch()

    def write(columns: dict[str, Any], meta: dict[str, Any]) -> None:
        tables = [
            {
                "name": name,
                "identifier": f"zoo__{name}",
                "config": {"meta": of_table},
                "columns": [{"name": column, "config": {"meta": rule}} for column, rule in of_columns.items()],
            }
            for name, of_table, of_columns in (
                ("animals", {}, SOUND),
                ("food", {"amounts": [AMOUNT]} | meta, SOUND | columns),
            )
        ]
        source = {"name": "zoo", "loader": "bin/ingest", "tables": tables}
        (folder / "_zoo__sources.yml").write_text(json.dumps({"sources": [source]}))

    return write


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_with_file_table_column_and_way_out(
    declare: Callable[..., None], database: Database, what: str
) -> None:
    columns, meta, message = WRONG[what]
    declare({}, {})
    with contextlib.closing(database.connect()) as connection:
        assert rules.problems(connection) == {}
        declare(columns, meta)
        found = rules.problems(connection)
        assert [*found] == ["zoo.food"], "and not the other table"
        assert found["zoo.food"].startswith(f"dbt/models/staging/zoo/_zoo__sources.yml: table food, {message}")
        connection.cursor().execute("select 1")


def test_names_are_checked_without_a_database(declare: Callable[..., None]) -> None:
    declare({"price": {"parse": "amont"}}, {})
    with pytest.raises(
        GranaryError, match=r"(?s)the sources declare.*food, column price: there is no macro parse_amont"
    ):
        rules.check()


def test_a_parse_type_that_says_no_type_is_not_checked_with_the_database(
    declare: Callable[..., None], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "types_read", lambda: {"text": "text"})
    declare({"price": {"parse": "amount", "must": "{price} >"}}, {})
    with contextlib.closing(database.connect()) as connection:
        assert rules.problems(connection) == {}
