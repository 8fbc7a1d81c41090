"""From a query string to one page of a mart: parameters, the cursor, and the select."""

from __future__ import annotations

import base64
import binascii
import datetime
import difflib
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

import sqlalchemy
from sqlalchemy import ColumnElement, Connection, FromClause, Subquery
from sqlalchemy.types import UserDefinedType
from werkzeug.datastructures import MultiDict

from granary.text import read_day

from . import formats
from .endpoints import OWN_PARAMETERS, Column, Endpoint
from .formats import FORMATS
from .problems import Problem

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
MOST_VALUES = 100  # of one filter
VALUES = {  # what a filter takes, by the kind of its column: a pattern, its description, and the value of a text
    "text": (r"[^\x00]+", "a text of at least one character, without NUL", str),
    "integer": (r"-?[0-9]{1,30}", "a whole number", Decimal),
    "number": (r"-?[0-9]{1,30}(\.[0-9]{1,30})?", "a number like 12.50", Decimal),
    "boolean": (r"true|false", "true or false", lambda text: text == "true"),
}


class Invalid(ValueError):
    """A value of a parameter that can't be used; the message says what it should be."""


@dataclass(frozen=True)
class Query:
    """What a request asks for."""

    endpoint: Endpoint
    filters: dict[str, list[Any]]  # values by parameter
    sort: str
    limit: int
    cursor: tuple[str | None, list[str]] | None  # the last row's sort value and key, as text

    @property
    def sort_column(self) -> str:
        """Return the column of the order."""
        return self.sort.removeprefix("-")

    def identity(self) -> str:
        """Return a text that is the same for two queries only if they ask for the same."""
        values = {name: sorted(map(str, given)) for name, given in self.filters.items()}
        columns = [*self.endpoint.columns]
        return json.dumps([self.endpoint.path, columns, values, self.sort, self.limit, self.cursor], sort_keys=True)


# -- Parameters --------------------------------------------------------------------------------------------------------


def read_query(endpoint: Endpoint, arguments: MultiDict[str, str]) -> Query:
    """Return what the parameters ask for. Raises a problem that names each parameter that can't be used."""
    filters = {each.parameter: each for each in endpoint.filters}
    refuse_unknown(arguments, [*filters, *OWN_PARAMETERS])
    problems, values = {}, {}
    for name in arguments:
        given = arguments.getlist(name)
        try:
            if name in filters:
                values[name] = read_filter(endpoint.columns[filters[name].column], given)
            else:
                values[name] = OWN_READERS[name](endpoint, only(given))
        except Invalid as error:
            problems[name] = str(error)
    sort = values.get("sort", endpoint.default_sort)
    cursor = values.pop("cursor", None)
    if cursor and cursor[0] != sort and "sort" not in problems:
        problems["cursor"] = "it belongs to another order: send it with the sort that it came with"
    if problems:
        words = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise Problem(400, f"Correct these parameters: {words}.", parameters=problems)
    chosen = {name: values[name] for name in filters if name in values}
    return Query(endpoint, chosen, sort, values.get("limit", DEFAULT_LIMIT), cursor and cursor[1:])


def refuse_unknown(arguments: MultiDict[str, str], known: list[str]) -> None:
    """Raise a problem that names the unknown parameters, if there are any."""
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        problems = {}
        for name in unknown:
            close = difflib.get_close_matches(name, known, n=1)
            problems[name] = f"unknown; did you mean {close[0]}?" if close else "unknown"
        has = f"This path takes {', '.join(known)}" if known else "This path takes no parameters"
        raise Problem(400, f"Remove the unknown parameters: {', '.join(unknown)}. {has}.", parameters=problems)


def only(given: list[str]) -> str:
    """Return the value of a parameter that can't be given twice."""
    if len(given) > 1:
        raise Invalid("give it once")
    return given[0]


def read_filter(column: Column, given: list[str]) -> list[Any]:
    """Return the values of a filter."""
    if column.kind == "date":
        return [read_date(only(given))]
    if len(given) > MOST_VALUES:
        raise Invalid(f"give at most {MOST_VALUES} values")
    pattern, words, value = VALUES[column.kind]
    if not all(re.fullmatch(pattern, text) for text in given):
        raise Invalid(f"give {words}")
    return [value(text) for text in given]


def read_date(text: str) -> datetime.date:
    """Return the date that a text of the form YYYY-MM-DD names."""
    if found := read_day(text):
        return found
    raise Invalid("give a date like 2026-02-03")


def read_limit(_: Endpoint, text: str) -> int:
    """Return how many rows a page may have."""
    if re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= LARGEST_LIMIT:
        return int(text)
    raise Invalid(f"give a whole number from 1 to {LARGEST_LIMIT}")


def read_sort(endpoint: Endpoint, text: str) -> str:
    """Return the order."""
    if text in endpoint.sorts:
        return text
    raise Invalid(f"give one of {', '.join(endpoint.sortable)}, with - in front for descending")


def read_format(_: Endpoint, text: str) -> str:
    """Return the name of a format."""
    if text in FORMATS:
        return text
    raise Invalid(f"give one of {', '.join(FORMATS)}")


# -- The cursor --------------------------------------------------------------------------------------------------------


def write_cursor(query: Query, value: str | None, key: list[str]) -> str:
    """Return the place after a row. Clients pass it on unread."""
    text = json.dumps([query.endpoint.path, query.sort, value, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(endpoint: Endpoint, text: str) -> tuple[str, str | None, list[str]]:
    """Return the order, the sort value and the key of a cursor."""
    broken = Invalid("it is broken, or belongs to another path: copy the address in `next` unchanged")
    try:
        decoded = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        path, sort, value, *key = json.loads(decoded)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise broken from None
    texts = [*key, *([] if value is None else [value])]
    if path != endpoint.path or sort not in endpoint.sorts or len(key) != len(endpoint.key):
        raise broken
    if not all(isinstance(each, str) and "\0" not in each and is_unicode(each) for each in texts):
        raise broken
    return sort, value, key


def is_unicode(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair, which JSON can spell and the database can't hold."""
    return not re.search("[\ud800-\udfff]", text)


OWN_READERS = {"limit": read_limit, "sort": read_sort, "format": read_format, "cursor": read_cursor}


def next_address(path: str, arguments: MultiDict[str, str], cursor: str) -> str:
    """Return the address of the next page."""
    kept = [(name, value) for name, value in arguments.items(multi=True) if name != "cursor"]
    return f"{path}?{urlencode([*kept, ('cursor', cursor)])}"


# -- The select --------------------------------------------------------------------------------------------------------


class Spelled(UserDefinedType):
    """A type as PostgreSQL spells it."""

    cache_ok = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.spelling


def select_page(query: Query) -> Subquery:
    """Return the select of a page and of one row more, which shows whether there is another page."""
    endpoint = query.endpoint
    mart = sqlalchemy.table(endpoint.mart, *map(sqlalchemy.column, endpoint.columns), schema="marts")
    selected = [in_utc(mart, column).label(name) for name, column in endpoint.columns.items()]
    statement = sqlalchemy.select(*selected).order_by(*order(query, mart)).limit(query.limit + 1)
    for each in endpoint.filters:
        if given := query.filters.get(each.parameter):
            column = mart.c[each.column]
            statement = statement.where(column.in_(given) if each.operator == "=" else column.op(each.operator)(*given))
    if query.cursor:
        statement = statement.where(after(query, mart))
    return statement.subquery("page")


def in_utc(mart: FromClause, column: Column) -> ColumnElement:
    """Return a column as answers show it: times with their offset, which is that of UTC."""
    is_local = column.kind == "time" and "without" in column.type
    return sqlalchemy.func.timezone("UTC", mart.c[column.name]) if is_local else mart.c[column.name]


def compared(query: Query, mart: FromClause, name: str) -> ColumnElement:
    """Return a column for comparisons: text by code points, whatever the server's language."""
    return mart.c[name].collate("C") if query.endpoint.columns[name].kind == "text" else mart.c[name]


def order(query: Query, mart: FromClause) -> list[ColumnElement]:
    """Return the order of a page: nulls at the end, ties by the key."""
    column = compared(query, mart, query.sort_column)
    first = column.desc() if query.sort.startswith("-") else column.asc()
    return [first.nulls_last(), *[compared(query, mart, name).asc() for name in query.endpoint.key]]


def after(query: Query, mart: FromClause) -> ColumnElement[bool]:
    """Return the condition of the rows that come after the cursor's, in the same order as `order`."""
    (value, key), names = query.cursor, query.endpoint.key
    column = mart.c[query.sort_column]

    def typed(name: str, text: str) -> ColumnElement:
        return sqlalchemy.cast(sqlalchemy.literal(text, sqlalchemy.Text()), Spelled(query.endpoint.columns[name].type))

    later_key = sqlalchemy.tuple_(*[compared(query, mart, name) for name in names]) > sqlalchemy.tuple_(
        *[typed(name, text) for name, text in zip(names, key, strict=True)]
    )
    if value is None:
        return sqlalchemy.and_(column.is_(None), later_key)
    last, ordered = typed(query.sort_column, value), compared(query, mart, query.sort_column)
    beyond = ordered < last if query.sort.startswith("-") else ordered > last
    return sqlalchemy.or_(beyond, sqlalchemy.and_(column == last, later_key), column.is_(None))


def read_page(connection: Connection, query: Query, form: str) -> tuple[list[tuple], str | None]:
    """Return the rows of a page, as `formats` writes them, and the cursor of the next one, if there is one."""
    page = select_page(query)
    place = [sqlalchemy.cast(page.c[name], sqlalchemy.Text()) for name in (query.sort_column, *query.endpoint.key)]
    expressions = formats.expressions(form, page, query.endpoint.columns)
    try:
        rows = connection.execute(sqlalchemy.select(*place, *expressions).select_from(page)).all()
    except sqlalchemy.exc.DataError:  # of all that is compared, only a cursor's values have not been read yet
        if not query.cursor:
            raise
        words = "it is broken: copy the address in `next` unchanged"
        raise Problem(400, f"Correct these parameters: cursor: {words}.", parameters={"cursor": words}) from None
    cursor = None
    if len(rows) > query.limit:
        rows.pop()
        value, *key = rows[-1][: len(place)]
        cursor = write_cursor(query, value, key)
    return [tuple(row[len(place) :]) for row in rows], cursor
