"""Which values belong to a person, which rows, and what takes the place of each value.

A value is looked for without regard to case, and gets one pseudonym, a random one: nobody can try out values on it.
Spellings that differ in case get pseudonyms that differ in case: what was equal stays equal, and what wasn't doesn't.
"""

from __future__ import annotations

import dataclasses
import html
import json
import re
import secrets
import string
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from psycopg2 import sql

from granary import declared
from granary.declared import Entity
from granary.loader.raw_tables import identifiers, raw
from granary.project import GranaryError

# What clean_text trims in dbt: a test compares them.
OUTER = (
    " \t\n\r\f\v\u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
    "\u200b\u2060\ufeff\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
EMAIL = re.compile(r"[^@\s]+@[^@\s]+[.][^@\s.]+")
ASCII_WORD = re.compile(r"[A-Za-z0-9_]+")
# How characters are written in JSON, CSV, HTML and addresses of pages, besides as they are.
ESCAPES = {
    '"': ('\\"', '""', "&quot;", "&#34;"),
    "'": ("''", "&#39;", "&#x27;"),
    "&": ("&amp;",),
    "<": ("&lt;",),
    ">": ("&gt;",),
    "/": (r"\/",),
    "\\": (r"\\",),
    "@": ("%40",),
}
ESCAPED_BEFORE = r"(?<=\\[bfnrt])|(?<=\\u[0-9a-f]{4})"  # of JSON: what comes after it begins a word
BEFORE = rf"(?:(?<![\w-])|{ESCAPED_BEFORE})"
AFTER = r"(?![\w-])"
BEFORE_EMAIL = rf"(?:(?<![\w.+%-])|{ESCAPED_BEFORE})"
AFTER_EMAIL = r"(?![\w-])(?![.]\w)"


@dataclasses.dataclass
class Value:
    """A value of the person. Unless it is `everywhere`, it is replaced in the person's own rows only, for a reason."""

    kind: str  # one of declared.PERSONAL
    column: str
    text: str
    pseudonym: str
    everywhere: bool = True
    why: str = ""  # how it was found
    reason: str = ""  # why it isn't replaced everywhere
    spellings: list[str] = dataclasses.field(default_factory=list)  # of the text, in the order in which they were found

    def replacement(self, spelling: str) -> str:
        """Return what takes the place of a spelling."""
        if spelling not in self.spellings:
            self.spellings.append(spelling)
        index, letters = self.spellings.index(spelling), []
        for each in self.pseudonym.partition("@")[0]:
            if each.isalpha():
                each, index = (each.upper() if index & 1 else each), index >> 1
            letters.append(each)
        return "".join(letters) + self.pseudonym[len(letters) :]


class Cell(NamedTuple):
    """A value in a personal column of one of the person's rows: as it was delivered, and what takes its place."""

    value: Value
    spelling: str
    delivered: str
    new: str


class Row(NamedTuple):
    """A row of a landing table, with what was delivered in its personal columns."""

    row_id: int
    batch_id: int
    values: dict[str, str]


@dataclasses.dataclass
class Person:
    """The values of a person, their rows by landing table, and what the user should know of others."""

    values: list[Value]
    rows: dict[str, dict[int, Row]]
    cells: dict[str, dict[int, dict[str, Cell]]]
    left_alone: list[str]
    elsewhere: list[str]

    @property
    def words(self) -> list[Value]:
        """Return the values that are looked for everywhere."""
        return [value for value in self.values if value.everywhere]


# -- Values ------------------------------------------------------------------------------------------------------------


def new_value(kind: str, column: str, spelling: str, why: str) -> Value:
    """Return a value with a pseudonym that is read as the value is: an address, a number, or a word."""
    if spelling.isdecimal() and spelling.isascii():
        pseudonym = "9" + "".join(secrets.choice(string.digits) for _ in range(14))
    else:
        letters = string.ascii_lowercase + string.digits
        pseudonym = "forgotten" + "".join(secrets.choice(letters) for _ in range(16))
        pseudonym += "@forgotten.invalid" if EMAIL.fullmatch(spelling) else ""
    value = Value(kind, column, spelling, pseudonym, why=why)
    if not is_distinctive(kind, spelling):
        value.everywhere, value.reason = False, "too common a text to be looked for elsewhere"
    return value


def is_distinctive(kind: str, text: str) -> bool:
    """Return whether a text means the person wherever it stands: a number, or a name of one word, may mean anything."""
    if "\n" in text or "\r" in text:
        return False
    if kind in ("name", "text") and not EMAIL.fullmatch(text):
        return len(text) >= 6 and len(text.split()) > 1
    return len(text) >= (9 if text.isdecimal() else 4)


def cleaned(delivered: str | None, nulls: Sequence[str]) -> str:
    """Return what the macro clean_text leaves of a value; nothing where that is null."""
    text = (delivered or "").strip(OUTER)
    return "" if text in nulls else text


def key_of(text: str) -> str:
    """Return what spellings of one value have in common."""
    return text.casefold()


def core_of(text: str) -> str:
    """Return a part of a text, in lower case, that every spelling of it has, however it is escaped."""
    return max(ASCII_WORD.findall(text), key=len, default="").lower()


class Finder:
    """Finds values as whole words in any text, in any case, also as JSON, CSV and HTML spell them."""

    def __init__(self, values: Iterable[Value]) -> None:
        self.values = sorted(values, key=lambda value: -len(value.text))
        self.cores = [core_of(value.text) for value in self.values]
        patterns = (f"({pattern_of(value.text)})" for value in self.values)
        self.pattern = re.compile("|".join(patterns) or r"(?!)", re.IGNORECASE)

    def found(self, text: str) -> int:
        """Return how often values are in a text."""
        return sum(1 for _ in self.pattern.finditer(text)) if self.may_be_in(text) else 0

    def replaced(self, text: str) -> tuple[str, int]:
        """Return a text with pseudonyms, and how many."""
        return self.pattern.subn(self.pseudonym, text) if self.may_be_in(text) else (text, 0)

    def may_be_in(self, text: str) -> bool:
        """Return False if no value can be in a text, which is found out sooner than where they are."""
        lower = text.lower()
        return any(core in lower for core in self.cores)

    def pseudonym(self, match: re.Match[str]) -> str:
        """Return what takes the place of a value in the spelling in which it was found."""
        return self.values[match.lastindex - 1].replacement(unescaped(match[0]))


def pattern_of(text: str) -> str:
    """Return a pattern for a text as a whole word."""
    characters = "".join(each if each.isascii() and each.isalnum() else escapes_of(each) for each in text)
    is_email = EMAIL.fullmatch(text)
    return f"{BEFORE_EMAIL if is_email else BEFORE}{characters}{AFTER_EMAIL if is_email else AFTER}"


def escapes_of(character: str) -> str:
    """Return a pattern for a character as it is, or escaped."""
    spellings = [character, *ESCAPES.get(character, ())]
    for cased in {character, character.upper(), character.lower()}:
        units = cased.encode("utf-16-be", "surrogatepass")
        spellings.append("".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2)))
    return f"(?:{'|'.join(map(re.escape, dict.fromkeys(spellings)))})"


def unescaped(text: str) -> str:
    """Return a text that was found in JSON, CSV or HTML as it is meant."""
    if "\\" in text:
        try:
            text = json.loads(f'"{text}"')
        except ValueError:
            return text
    return html.unescape(text).replace('""', '"').replace("''", "'").replace("%40", "@")


# -- Rows --------------------------------------------------------------------------------------------------------------


class Search:
    """The search for one person, who begins with the given values of columns in one feed."""

    def __init__(self, cursor: Any, entities: Iterable[Entity], feed: str, kept: Sequence[tuple[str, str]]) -> None:
        self.cursor, self.feed = cursor, feed
        self.entities = [entity for entity in entities if entity.personal]
        self.own = [entity for entity in self.entities if entity.feed == feed]
        self.kept = {(column, key_of(text)) for column, text in kept}
        self.default_nulls = declared.project_vars().get("nulls") or []
        self.values: dict[tuple[str, str], Value] = {}  # by kind, and key
        self.rows: dict[str, dict[int, Row]] = {}
        self.left_alone: list[str] = []
        self.elsewhere: dict[str, None] = {}

    def find(self, given: Sequence[tuple[str, str]]) -> Person:
        """Return what is the person's. Raises GranaryError if no row has one of the given values."""
        self.follow(given)
        if not any(self.rows.values()):
            named = ", ".join(f"{column}={text}" for column, text in given)
            raise GranaryError(f"no row of {self.feed} has {named}: nothing is to be forgotten")
        for entity in self.own:
            for row in self.rows.get(entity.table, {}).values():
                for column, text in self.parsed(entity, row).items():
                    kind = entity.personal[column]
                    if kind != "id" and not self.is_kept(column, text):
                        self.values.setdefault((kind, key_of(text)), new_value(kind, column, text, "in a row"))
        for value in [*self.values.values()]:
            self.look_elsewhere(value)
        return Person([*self.values.values()], self.rows, self.cells(), self.left_alone, [*self.elsewhere])

    def follow(self, given: Sequence[tuple[str, str]]) -> None:
        """Find the rows of the given values, and from ids in these on those of the ids that are nobody else's."""
        roots: dict[str, set[str]] = {}  # by column: the ids that tell this person from others
        waiting: list[tuple[str, str, str]] = []  # column, spelling, and how it was found
        tried = set()
        for column, text in given:
            kinds = [entity.personal[column] for entity in self.own if column in entity.personal]
            if not kinds:
                names = sorted({name for entity in self.own for name in entity.personal})
                raise GranaryError(
                    f"{self.feed} has no personal column {column}: "
                    + (f"choose from {', '.join(names)}" if names else "declare some with `personal` in its source")
                )
            spelling = cleaned(text, ())
            if not spelling:
                raise GranaryError(f"{column}= has no value: name one")
            self.values[kinds[0], key_of(spelling)] = new_value(kinds[0], column, spelling, "given")
            tried.add((column, key_of(spelling)))
            found = self.take(
                self.with_id(column, spelling) if kinds[0] == "id" else self.with_column(column, spelling)
            )
            for name, each in found if kinds[0] != "id" else [(column, spelling)]:
                roots.setdefault(name, set()).add(key_of(each))
            waiting += [(name, each, "given" if kinds[0] == "id" else f"with {column}") for name, each in found]
        while waiting:
            column, spelling, why = waiting.pop(0)
            key = key_of(spelling)
            if (column, key) in tried or self.is_kept(column, spelling):
                continue
            tried.add((column, key))
            rows = self.with_id(column, spelling)
            others = {
                key_of(text)
                for entity, row in rows
                for name, text in self.parsed(entity, row).items()
                if name in roots and key_of(text) not in roots[name] and entity.personal[name] == "id"
            }
            if others and key not in roots.get(column, ()):
                self.left_alone.append(
                    f"{column}={spelling}: also in rows of {len(others):,} other {' or '.join(sorted(roots))}"
                )
                continue
            self.values.setdefault(("id", key), new_value("id", column, spelling, f"followed from {why}"))
            waiting += [(name, each, column) for name, each in self.take(rows)]

    def take(self, rows: Iterable[tuple[Entity, Row]]) -> list[tuple[str, str]]:
        """Take rows for the person's; return the columns and values of their ids."""
        ids = {}
        for entity, row in rows:
            self.rows.setdefault(entity.table, {})[row.row_id] = row
            for column, text in self.parsed(entity, row).items():
                if entity.personal[column] == "id":
                    ids[column, text] = None
        return [*ids]

    def with_column(self, column: str, text: str) -> list[tuple[Entity, Row]]:
        """Return the rows of the feed that have a value in a column of this name."""
        return [*self.with_value(self.own, [text], lambda _, name: name == column)]

    def with_id(self, column: str, text: str) -> list[tuple[Entity, Row]]:
        """Return the rows of the feed that have an id in any column of ids; a number only in columns of its name."""
        anywhere = is_distinctive("id", text)
        return [
            *self.with_value(
                self.own,
                [text],
                lambda entity, name: entity.personal[name] == "id" and (anywhere or name == column),
            )
        ]

    def with_value(
        self, entities: Iterable[Entity], texts: Sequence[str], is_meant: Callable[[Entity, str], bool]
    ) -> Iterator[tuple[Entity, Row]]:
        """Yield the rows that have one of some values, as they are parsed, in the personal columns that are meant."""
        keys = {key_of(text) for text in texts}
        for entity in entities:
            meant = [column for column in entity.personal if is_meant(entity, column)]
            for row in self.candidates(entity, meant, texts) if meant else ():
                parsed = self.parsed(entity, row)
                if any(key_of(parsed.get(column, "")) in keys for column in meant):
                    yield entity, row

    def candidates(self, entity: Entity, columns: Sequence[str], texts: Sequence[str]) -> Iterator[Row]:
        """Yield the rows that may have one of some values in one of some columns."""
        contains = sql.SQL(" or ").join(
            sql.SQL("strpos(lower({}), {}) > 0").format(sql.Identifier(column), sql.Literal(core_of(text)))
            for column in columns
            for text in texts
        )
        self.cursor.execute(
            sql.SQL("select _row_id, _batch_id, {} from {} where {}").format(
                identifiers(entity.personal), raw(entity.table), contains
            )
        )
        for row_id, batch_id, *values in self.cursor.fetchall():
            yield Row(row_id, batch_id, dict(zip(entity.personal, values, strict=True)))

    def parsed(self, entity: Entity, row: Row) -> dict[str, str]:
        """Return the values of a row's personal columns that aren't nothing, without what the project trims."""
        found = {}
        for column, delivered in row.values.items():
            nulls = entity.rules[column].get("nulls", entity.meta.get("nulls", self.default_nulls))
            if text := cleaned(delivered, nulls):
                found[column] = text
        return found

    def is_kept(self, column: str, text: str) -> bool:
        """Return whether the user wants to leave a value alone."""
        return (column, key_of(text)) in self.kept

    def look_elsewhere(self, value: Value) -> None:
        """Find out who else has a value: then it is replaced in the person's own rows only.

        The same address in another feed is taken for the same person's, as marts do that span feeds. The same id in
        another feed is somebody else's, and the same name may be.
        """
        text, others = value.text, 0
        kinds = (value.kind,) if value.kind in ("id", "email") else ("name", "text")
        found = self.with_value(self.entities, [text], lambda entity, name: entity.personal[name] in kinds)
        for entity, row in found:
            if entity.feed == self.feed:
                others += value.kind != "id" and row.row_id not in self.rows.get(entity.table, {})
                continue
            others += value.kind != "email"
            parsed = self.parsed(entity, row)
            ids = [
                f"{name}={parsed[name]}" for name, kind in entity.personal.items() if kind == "id" and name in parsed
            ]
            same = "as well" if value.kind == "email" else "if it is the same person"
            command = f"bin/forget {entity.feed} {' '.join(ids)}" if ids else "no id is declared personal there"
            self.elsewhere[f"{entity.feed}.{entity.name} has the {value.kind} {text}; to forget {same}: {command}"] = (
                None
            )
        if others and value.everywhere:
            value.everywhere, value.reason = False, f"{others:,} rows of others have it, too"

    def cells(self) -> dict[str, dict[int, dict[str, Cell]]]:
        """Return the cells of the person's rows that are to be replaced: by table, row and column."""
        found: dict[str, dict[int, dict[str, Cell]]] = {}
        for entity in self.own:
            for row in self.rows.get(entity.table, {}).values():
                for column, text in self.parsed(entity, row).items():
                    value = self.values.get((entity.personal[column], key_of(text)))
                    if value and not self.is_kept(column, text):
                        delivered = row.values[column]
                        cell = Cell(value, text, delivered, delivered.replace(text, value.replacement(text), 1))
                        found.setdefault(entity.table, {}).setdefault(row.row_id, {})[column] = cell
        return found


def rows_only(cells: Mapping[str, Cell]) -> dict[str, Cell]:
    """Return the cells of a row whose values are looked for nowhere else."""
    return {column: cell for column, cell in cells.items() if not cell.value.everywhere}
