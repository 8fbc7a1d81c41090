"""From the names in a file to the columns of its raw table."""

from __future__ import annotations

from collections.abc import Iterable

from granary.declared import LONGEST_NAME, Entity
from granary.project import GranaryError
from granary.text import snake_case


def columns_of(names: Iterable[str], entity: Entity, file: str) -> list[str]:
    """Return the column of each name; raise GranaryError, naming the file, if they can't be mapped safely."""
    columns: dict[str, str] = {}
    where = f"{file}, line 1"
    for position, name in enumerate(names, start=1):
        column = snake_case(name)
        if not column or max(len(name.encode()), len(column.encode())) > LONGEST_NAME:
            raise GranaryError(
                f'{where}: column {position} is named "{name}", which can\'t be used: rename it, with at least one'
                f" letter or digit and at most {LONGEST_NAME} bytes"
            )
        if column in columns:
            raise GranaryError(f'{where}: columns "{columns[column]}" and "{name}" both become {column}: rename one')
        columns[column] = name
    if missing := [name for name in entity.columns if name not in columns and name not in entity.optional]:
        found = f"found {', '.join(columns)}" if columns else "found no rows"
        raise GranaryError(
            f"{where}: no column {', '.join(missing)} ({found}): add it to the file, or remove it from the dbt source"
            f" {entity.feed}"
        )
    return list(columns)
