"""From the names in a file to the columns of its raw table; granary.text.column_name says how each is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence

from granary.declared import Entity
from granary.project import GranaryError
from granary.text import abridged, column_name, shortened

SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}


def columns_of(names: Sequence[str], entity: Entity, file: str, line: int = 1, kind: str = "file") -> list[str]:
    """Return the column of each name in the header that ends on a line, or, by `kind`, of each in a table.

    Raises GranaryError unless each declared column is there once.
    """
    where = f"{file}, line {max(line, 1)}" if kind == "file" else file
    columns = list(map(column_name, names))
    for column in entity.columns:
        if len(same := [name for name, each in zip(names, columns, strict=True) if each == column]) > 1:
            raise GranaryError(
                f'{where}: columns "{abridged(same[0])}" and "{abridged(same[1])}" both become {column}, which the'
                f" source {entity.feed} declares: rename one"
            )
    seen: Counter[str] = Counter()
    for position, column in enumerate(columns):
        seen[column] += 1
        columns[position] = repeated(column, seen[column])
    if missing := [column for column in entity.columns if column not in columns and column not in entity.optional]:
        for separator, plural in SEPARATORS.items():
            if len(names) == 1 and separator in names[0]:
                declare = f"declare `format: {{delimiter: {separator!r}}}` in the meta of the source's table"
                raise GranaryError(
                    f"{where}: not a valid header: found {plural}, expected commas: {declare}, or save it with commas"
                )
        raise missing_error(where, missing, columns, entity, kind)
    return columns


def check_keys(columns: Mapping[str, str], entity: Entity, file: str) -> None:
    """Raise GranaryError if a required column has no key in JSON objects, given the columns of their keys."""
    found = dict.fromkeys(columns.values())
    if found and (missing := [column for column in entity.required if column not in found]):
        raise missing_error(file, missing, found, entity)


def missing_error(
    where: str, missing: Sequence[str], found: Collection[str], entity: Entity, kind: str = "file"
) -> GranaryError:
    """Return the error for columns that a file or a table lacks."""
    return GranaryError(
        f"{where}: no column {', '.join(missing)} (found {abridged(', '.join(found), 200)}): add it to the {kind}, or"
        f" remove it from the dbt source {entity.feed}"
    )


def repeated(column: str, number: int) -> str:
    """Return the name of a column that a file has for the first, second, or another time."""
    return shortened(f"{column}__{number}") if number > 1 else column


def described(columns: Iterable[str], delivered: Mapping[str, str]) -> tuple[str, ...]:
    """Return columns for people, each that has a made name with the one in the file."""

    def words(column: str) -> str:
        name = delivered.get(column) if "__" in column else None
        return column if name is None else f'{column} for "{abridged(name)}"'

    return tuple(map(words, columns))
