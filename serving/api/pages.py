"""From a query string to one page of a mart: parameters, the cursor, and the select."""

from __future__ import annotations

import base64
import binascii
import datetime
import difflib
import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import sqlalchemy
from sqlalchemy import ColumnElement, Connection, Select, Subquery
from werkzeug.datastructures import MultiDict

from .database import Column
from .endpoints import Endpoint, Filter
from .problems import Problem

DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
MOST_VALUES = 100  # of one filter
FORMATS = {"json": "application/json", "csv": "text/csv", "parquet": "application/vnd.apache.parquet"}
OWN_PARAMETERS = ["limit", "sort", "cursor", "format"]

TYPES = {
    "bigint": sqlalchemy.BigInteger(),
    "boolean": sqlalchemy.Boolean(),
    "date": sqlalchemy.Date(),
    "integer": sqlalchemy.Integer(),
    "text": sqlalchemy.Text(),
    "timestamp without time zone": sqlalchemy.DateTime(),
}


class Broken(ValueError):
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
        """Return a text that is the same for two queries just where they ask for the same."""
        values = {name: sorted(map(str, given)) for name, given in self.filters.items()}
        columns = self.endpoint.columns
        return json.dumps([self.endpoint.name, columns, values, self.sort, self.limit, self.cursor], sort_keys=True)


# -- Parameters --------------------------------------------------------------------------------------------------------


def read_query(endpoint: Endpoint, columns: dict[str, Column], arguments: MultiDict[str, str]) -> Query:
    """Return what the parameters ask for. Raises a problem that names each parameter with which something is wrong."""
    filters = {each.parameter: each for each in endpoint.filters}
    refuse_unknown(arguments, [*filters, *OWN_PARAMETERS])
    problems, values = {}, {}
    for name in arguments:
        given = arguments.getlist(name)
        try:
            if name in filters:
                values[name] = read_filter(filters[name], columns, given)
            else:
                (values[name],) = [OWN_READERS[name](endpoint, text) for text in only(given)]
        except Broken as error:
            problems[name] = str(error)
    sort = values.get("sort", endpoint.sort)
    cursor = values.pop("cursor", None)
    if cursor and cursor[0] != sort and "sort" not in problems:
        problems["cursor"] = "it is of another order: use it with the sort that it came with"
    if problems:
        words = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
        raise Problem(400, f"Correct these parameters: {words}.", parameters=problems)
    chosen = {name: values[name] for name in filters if name in values}
    return Query(endpoint, chosen, sort, values.get("limit", DEFAULT_LIMIT), cursor and cursor[1:])


def refuse_unknown(arguments: MultiDict[str, str], known: list[str]) -> None:
    """Raise a problem that names the parameters that aren't known."""
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        problems = {}
        for name in unknown:
            close = difflib.get_close_matches(name, known, n=1)
            problems[name] = f"unknown; did you mean {close[0]}?" if close else "unknown"
        has = f"This path has {', '.join(known)}" if known else "This path has no parameters"
        raise Problem(400, f"Leave out what is unknown: {', '.join(unknown)}. {has}.", parameters=problems)


def only(given: list[str]) -> list[str]:
    """Return the one value of a parameter that can't be given twice."""
    if len(given) > 1:
        raise Broken("give it once")
    return given


def read_filter(wanted: Filter, columns: dict[str, Column], given: list[str]) -> list[Any]:
    """Return the values of a filter."""
    if columns[wanted.column].type == "date":
        return [read_date(text) for text in only(given)]
    if len(given) > MOST_VALUES:
        raise Broken(f"give at most {MOST_VALUES} values")
    for text in given:
        if not text or "\0" in text:
            raise Broken("give a text of at least one character, without NUL")
    return given


def read_date(text: str) -> datetime.date:
    """Return the date that a text of the form YYYY-MM-DD names."""
    if re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", text):  # newer Pythons read other forms as well
        try:
            return datetime.date.fromisoformat(text)
        except ValueError:
            pass
    raise Broken("give a date like 2026-02-03")


def read_limit(_: Endpoint, text: str) -> int:
    """Return how many rows a page may have."""
    if re.fullmatch("[0-9]{1,9}", text) and 1 <= int(text) <= LARGEST_LIMIT:
        return int(text)
    raise Broken(f"give a whole number from 1 to {LARGEST_LIMIT}")


def read_sort(endpoint: Endpoint, text: str) -> str:
    """Return the order."""
    if text in endpoint.sorts:
        return text
    raise Broken(f"give one of {', '.join(endpoint.sortable)}, with - in front for descending")


def read_format(_: Endpoint, text: str) -> str:
    """Return the name of a format."""
    if text in FORMATS:
        return text
    raise Broken(f"give one of {', '.join(FORMATS)}")


# -- The cursor --------------------------------------------------------------------------------------------------------


def write_cursor(query: Query, value: str | None, key: list[str]) -> str:
    """Return the place after a row: opaque to clients, who are to pass it on as it is."""
    text = json.dumps([query.endpoint.name, query.sort, value, *key], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(endpoint: Endpoint, text: str) -> tuple[str, str | None, list[str]]:
    """Return the order, the sort value and the key of a cursor."""
    broken = Broken("it is broken, or of another path: take the address in `next` as it is")
    try:
        decoded = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        name, sort, value, *key = json.loads(decoded)
    except (ValueError, TypeError, RecursionError, binascii.Error):
        raise broken from None
    texts = [*key, *([] if value is None else [value])]
    if name != endpoint.name or sort not in endpoint.sorts or len(key) != len(endpoint.key):
        raise broken
    if not all(isinstance(each, str) and "\0" not in each and is_unicode(each) for each in texts):
        raise broken
    return sort, value, key


def is_unicode(text: str) -> bool:
    """Tell whether a text has no half of a surrogate pair, which JSON can spell and the database can't hold."""
    return not re.search("[\ud800-\udfff]", text)


OWN_READERS = {"limit": read_limit, "sort": read_sort, "format": read_format, "cursor": read_cursor}


def next_address(path: str, arguments: MultiDict[str, str], cursor: str) -> str:
    """Return the address of the next page."""
    kept = [(name, value) for name, value in arguments.items(multi=True) if name != "cursor"]
    return f"{path}?{urlencode([*kept, ('cursor', cursor)])}"


# -- The select --------------------------------------------------------------------------------------------------------


def select_page(query: Query, columns: dict[str, Column]) -> Subquery:
    """Return the select of a page and of one row more, by which one sees whether there is another page."""
    endpoint = query.endpoint
    mart = sqlalchemy.table(
        endpoint.mart, *[sqlalchemy.column(each.name, type_of(each)) for each in columns.values()], schema="marts"
    )
    selected = [in_utc(mart.c[name]).label(name) for name in endpoint.columns]
    statement = sqlalchemy.select(*selected).order_by(*order(query, mart.c)).limit(query.limit + 1)
    for each in endpoint.filters:
        if given := query.filters.get(each.parameter):
            statement = statement.where(condition(mart.c[each.column], each.operator, given))
    if query.cursor:
        statement = statement.where(after(query, mart.c, columns))
    return statement.subquery("page")


def type_of(column: Column) -> Any:
    """Return the type by which a value is compared with a column."""
    return sqlalchemy.Numeric() if column.type.startswith("numeric") else TYPES[column.type]


def in_utc(column: ColumnElement) -> ColumnElement:
    """Return a column as it is shown: times with their offset, which is that of UTC."""
    is_time = isinstance(column.type, sqlalchemy.DateTime)
    return sqlalchemy.func.timezone("UTC", column) if is_time else column


def condition(column: ColumnElement, operator: str, given: list[Any]) -> ColumnElement[bool]:
    """Return the condition of a filter."""
    return {"=": column.in_(given), ">=": column >= given[0], "<=": column <= given[0]}[operator]


def compared(column: ColumnElement) -> ColumnElement:
    """Return a column as it is ordered: text by code points, whatever the server's language."""
    return column.collate("C") if isinstance(column.type, sqlalchemy.Text) else column


def order(query: Query, mart: Any) -> list[ColumnElement]:
    """Return the order of a page: nulls at the end, ties by the key."""
    column = compared(mart[query.sort_column])
    first = column.desc() if query.sort.startswith("-") else column.asc()
    return [first.nulls_last(), *[compared(mart[name]).asc() for name in query.endpoint.key]]


def after(query: Query, mart: Any, columns: dict[str, Column]) -> ColumnElement[bool]:
    """Return the condition of the rows that come after the cursor's, in the same order as `order`."""
    value, key = query.cursor
    column = mart[query.sort_column]

    def typed(name: str, text: str) -> ColumnElement:
        return sqlalchemy.cast(sqlalchemy.literal(text, sqlalchemy.Text()), type_of(columns[name]))

    names = query.endpoint.key
    later_key = sqlalchemy.tuple_(*[compared(mart[name]) for name in names]) > sqlalchemy.tuple_(
        *[typed(name, text) for name, text in zip(names, key, strict=True)]
    )
    if value is None:
        return sqlalchemy.and_(column.is_(None), later_key)
    last = typed(query.sort_column, value)
    beyond = compared(column) < last if query.sort.startswith("-") else compared(column) > last
    return sqlalchemy.or_(beyond, sqlalchemy.and_(column == last, later_key), column.is_(None))


def read_page(
    connection: Connection, query: Query, columns: dict[str, Column], expressions: list[ColumnElement]
) -> tuple[list[tuple], str | None]:
    """Return the rows of a page, as the values of `expressions`, and the cursor of the next one, if there is one."""
    page = select_page(query, columns)
    place = [sqlalchemy.cast(page.c[name], sqlalchemy.Text()) for name in (query.sort_column, *query.endpoint.key)]
    statement: Select = sqlalchemy.select(*place, *expressions).select_from(page)
    try:
        rows = connection.execute(statement).all()
    except sqlalchemy.exc.DataError:  # of all that is compared, only a cursor's values have not been read yet
        if not query.cursor:
            raise
        words = "it is broken: take the address in `next` as it is"
        raise Problem(400, f"Correct these parameters: cursor: {words}.", parameters={"cursor": words}) from None
    cursor = None
    if len(rows) > query.limit:
        rows.pop()
        value, *key = rows[-1][: len(place)]
        cursor = write_cursor(query, value, key)
    return [tuple(row[len(place) :]) for row in rows], cursor
