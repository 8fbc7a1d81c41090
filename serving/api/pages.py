"""From a query string to one page of a mart: parameters, the cursor, and the select."""

from __future__ import annotations

import base64
import binascii
import datetime
import difflib
import functools
import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import urlencode

import sqlalchemy
from sqlalchemy import ColumnElement, Connection, FromClause
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType, UserDefinedType
from werkzeug.datastructures import MultiDict

from granary.text import read_day

from . import formats
from .database import LOGS, PASSED, WRITTEN_BY, Build, run_prepared
from .endpoints import OWN_PARAMETERS, Column, Endpoint, Filter
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

DIALECT = postgresql.dialect(paramstyle="numeric_dollar")
SMALLEST, LARGEST = -(2**63), 2**63 - 1  # of bigint
IS_SAME_BUILD = f"""
    select
        ({WRITTEN_BY}) is not distinct from {{written_by}}
        and (select build_id from ({PASSED}) as passed) is not distinct from {{build_id}} as is_same
"""


class Spelled(UserDefinedType):
    """A type as PostgreSQL spells it."""

    cache_ok = True

    def __init__(self, spelling: str) -> None:
        self.spelling = spelling

    def get_col_spec(self, **_: Any) -> str:
        """Return the type's name in SQL."""
        return self.spelling


class Shape(NamedTuple):
    """What of a request is in the text of its select. The rest are the parameters' values."""

    endpoint: Endpoint
    filters: tuple[str, ...]
    sort_column: str
    is_descending: bool
    limit: int
    cursor: str  # none, null (the last row has no sort value) or value
    form: str
    is_built: bool  # whether there was a build, and so a log of builds


@functools.lru_cache(maxsize=500)
def select_page(shape: Shape) -> tuple[str, list[tuple[str, Any]]]:
    """Return the select of a page and of one row more, which shows whether there is another page.

    Each row begins with whether the build is the one that the parameters name; if the page is empty, there is only that
    row. The parameters are returned by name, with the values of those that are always the same.
    """
    endpoint = shape.endpoint
    mart = sqlalchemy.table(endpoint.mart, *map(sqlalchemy.column, endpoint.columns), schema="marts")
    selected = [in_utc(mart, column).label(name) for name, column in endpoint.columns.items()]
    statement = sqlalchemy.select(*selected).order_by(*order(shape, mart))
    statement = statement.limit(sqlalchemy.literal_column(str(shape.limit + 1)))  # a parameter would hide it from plans
    for number, each in enumerate(endpoint.filters):
        if each.parameter in shape.filters:
            statement = statement.where(chosen(mart, endpoint, each, f"filter_{number}"))
    if shape.cursor != "none":
        statement = statement.where(after(shape, mart))
    page = statement.subquery("page")
    place = [sqlalchemy.cast(page.c[name], sqlalchemy.Text()) for name in (shape.sort_column, *endpoint.key)]
    expressions = [*place, *formats.expressions(shape.form, page, endpoint.columns)]
    # The names are not used, but two columns can't have the same.
    named = [expression.label(f"c{number}") for number, expression in enumerate(expressions)]
    compiled = sqlalchemy.select(*named).select_from(page).compile(dialect=DIALECT)
    parameters = [(name, compiled.params[name]) for name in compiled.positiontup or ()]
    build = "select true as is_same"
    if shape.is_built:
        names = ("mart", "written_by", "build_id")
        places = {name: f"${number}" for number, name in enumerate(names, len(parameters) + 1)}
        build = IS_SAME_BUILD.format(**places)
        parameters += [("mart", endpoint.mart), ("written_by", None), ("build_id", None)]
    return f"select build.is_same, page.* from ({build}) as build left join ({compiled}) as page on true", parameters


def in_utc(mart: FromClause, column: Column) -> ColumnElement:
    """Return a column as answers show it: times with their offset, which is that of UTC."""
    is_local = column.kind == "time" and "without" in column.type
    return sqlalchemy.func.timezone("UTC", mart.c[column.name]) if is_local else mart.c[column.name]


def chosen(mart: FromClause, endpoint: Endpoint, given: Filter, parameter: str) -> ColumnElement[bool]:
    """Return the condition of a filter, whose values are a parameter of the select."""
    column, kind = mart.c[given.column], endpoint.columns[given.column].kind
    values = sqlalchemy.bindparam(parameter, type_=NullType())
    if given.operator != "=":
        return column.op(given.operator)(values)
    if kind in ("integer", "number"):
        values = sqlalchemy.cast(values, Spelled("bigint[]" if kind == "integer" else "numeric[]"))
    return column == sqlalchemy.any_(values)


def compared(shape: Shape, mart: FromClause, name: str) -> ColumnElement:
    """Return a column for comparisons: text by code points, whatever the server's language."""
    return mart.c[name].collate("C") if shape.endpoint.columns[name].kind == "text" else mart.c[name]


def order(shape: Shape, mart: FromClause) -> list[ColumnElement]:
    """Return the order of a page: nulls at the end, ties by the key."""
    column = compared(shape, mart, shape.sort_column)
    first = column.desc() if shape.is_descending else column.asc()
    return [first.nulls_last(), *[compared(shape, mart, name).asc() for name in shape.endpoint.key]]


def after(shape: Shape, mart: FromClause) -> ColumnElement[bool]:
    """Return the condition of the rows that come after the cursor's, in the same order as `order`."""
    names = shape.endpoint.key
    column = mart.c[shape.sort_column]

    def typed(parameter: str, name: str) -> ColumnElement:
        value = sqlalchemy.bindparam(parameter, type_=sqlalchemy.Text())
        return sqlalchemy.cast(value, Spelled(shape.endpoint.columns[name].type))

    later_key = sqlalchemy.tuple_(*[compared(shape, mart, name) for name in names]) > sqlalchemy.tuple_(
        *[typed(f"key_{number}", name) for number, name in enumerate(names)]
    )
    if shape.cursor == "null":
        return sqlalchemy.and_(column.is_(None), later_key)
    last, ordered = typed("last", shape.sort_column), compared(shape, mart, shape.sort_column)
    beyond = ordered < last if shape.is_descending else ordered > last
    return sqlalchemy.or_(beyond, sqlalchemy.and_(column == last, later_key), column.is_(None))


def values_of(query: Query, build: Build) -> dict[str, Any]:
    """Return the values of a select's parameters by name."""
    values: dict[str, Any] = {"written_by": build.written_by, "build_id": build.build_id}
    for number, each in enumerate(query.endpoint.filters):
        if given := query.filters.get(each.parameter):
            if query.endpoint.columns[each.column].kind == "integer":
                given = [int(value) for value in given if SMALLEST <= value <= LARGEST]  # no row holds the others
            values[f"filter_{number}"] = given if each.operator == "=" else given[0]
    if query.cursor:
        last, key = query.cursor
        values |= {"last": last} | {f"key_{number}": value for number, value in enumerate(key)}
    return values


def read_page(connection: Connection, query: Query, form: str, build: Build) -> tuple[list[tuple], str | None] | None:
    """Return the rows of a page, as `formats` writes them, and the cursor of the next one, if there is one.

    Returns None if the build is not the one that the rows are of: one of the two is older.
    """
    cursor = "none" if not query.cursor else "null" if query.cursor[0] is None else "value"
    is_descending, is_built = query.sort.startswith("-"), build.latest_status is not None
    shape = Shape(
        query.endpoint, (*query.filters,), query.sort_column, is_descending, query.limit, cursor, form, is_built
    )
    statement, parameters = select_page(shape)
    values = values_of(query, build)
    given = [values.get(name, value) for name, value in parameters]
    try:
        rows = run_prepared(connection, statement, given, query.endpoint.mart, *(LOGS if is_built else ()))
    except sqlalchemy.exc.DataError:  # of all that is compared, only a cursor's values have not been read yet
        if not query.cursor:
            raise
        words = "it is broken: copy the address in `next` unchanged"
        raise Problem(400, f"Correct these parameters: cursor: {words}.", parameters={"cursor": words}) from None
    if not rows[0][0]:
        return None
    begin = 2 + len(query.endpoint.key)  # of what the format needs; is_same, the sort value and the key come before
    if rows[0][begin - 1] is None:  # a key is never null, so this is no row of the mart
        return [], None
    following = None
    if len(rows) > query.limit:
        rows.pop()
        value, *key = rows[-1][1:begin]
        following = write_cursor(query, value, key)
    return [tuple(row[begin:]) for row in rows], following
