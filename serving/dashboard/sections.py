"""A section of a page: a mart as its YAML declares it (meta.dashboard; docs/dashboard.md lists the settings).

Its queries name what is declared; values are parameters, and numbers are those of the mart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from psycopg2 import sql

from dashboard.columns import in_words
from dashboard.marts import table
from granary.declared import Column, Mart
from granary.project import GranaryError

SETTINGS = ("title", "about", "order", "columns", "filters", "sort", "limit", "names", "chart")
CHARTS = ("bars", "lines", "ranks")
ORDERS = {"asc": sql.SQL("{} asc nulls last"), "desc": sql.SQL("{} desc nulls last")}
COMMA = sql.SQL(", ")


@dataclass(frozen=True)
class Filter:
    """A choice of rows: by first and last day, or among the values of a column."""

    column: str
    largest_first: str = ""  # sorts the values by the maximum of this column, not by name
    default: int = 0  # how many values are chosen at first; 0: none, which shows all rows
    at_most: int = 0  # how many values can be chosen; 0: any number


@dataclass(frozen=True)
class Chart:
    """A chart: bars or lines over dates, or one horizontal bar per row (ranks)."""

    kind: str
    x: str
    y: str | list[str]  # the user chooses one of several
    color: str = ""  # bars: stacked by this column
    average: str = ""  # bars and lines: a line over them
    changes: str = ""  # bars and lines: a second chart, in one colour above zero and in another one below
    each: str = ""  # bars and lines: a chart per value of this column
    within: str = ""  # ranks: the part of x that is drawn over it
    most: int = 15  # ranks: how many rows

    @property
    def columns(self) -> list[str]:
        """Return the columns that are drawn."""
        others = (self.x, self.color, self.average, self.changes, self.each, self.within)
        return [*as_list(self.y), *filter(None, others)]


class Name(NamedTuple):
    """Where the name of what a column identifies comes from, and the column that shows it."""

    shown: str
    dimension: str
    key: str
    column: str


class Section:
    """A mart as a page shows it."""

    def __init__(self, mart: Mart, marts: Mapping[str, Mart]) -> None:
        """Read the declaration; what it doesn't say follows from the mart. Raises GranaryError where it is wrong."""
        given = {} if mart.meta["dashboard"] is True else mart.meta["dashboard"]
        check("dashboard", given, SETTINGS)
        self.mart = mart
        dates = [column.name for column in mart.columns if column.kind == "date"]
        given = {name: value for name, value in given.items() if value is not None}
        self.title = str(given.get("title", in_words(mart.name)))
        self.about = str(given.get("about", mart.description.partition(". ")[0]))
        self.columns = as_list(given.get("columns")) or [column.name for column in mart.public_columns]
        self.limits = as_list(given.get("limit"))
        names = given.get("names", {})
        check("names", names, names)
        self.names = {id_: name_from(id_, str(text), marts) for id_, text in names.items()}
        self.chart = made(Chart, given["chart"]) if "chart" in given else None
        if self.chart and self.chart.kind not in CHARTS:
            raise GranaryError(f"chart: unknown kind {self.chart.kind}; choose from {', '.join(CHARTS)}")
        filters = as_list(given.get("filters", [date for date in dates[:1] if date in mart.grain]))
        self.filters = [made(Filter, {"column": each} if isinstance(each, str) else each) for each in filters]
        self.sort = {}
        grain = [f"{column} desc" if column in dates else column for column in mart.grain or self.columns]
        for column, way, *_ in (f"{text} asc".split() for text in [*as_list(given.get("sort")), *grain]):
            if way not in ORDERS:
                raise GranaryError(f"sort: unknown order {way}; choose from {', '.join(ORDERS)}")
            self.sort.setdefault(column, ORDERS[way])

    def column(self, name: str) -> Column:
        """Return a column by its name; one that the mart doesn't have holds names."""
        return next((column for column in self.mart.columns if column.name == name), Column(name, "text"))

    def name_of(self, column: str) -> str:
        """Return the column in which people read what a column identifies."""
        return self.names[column].shown if column in self.names else column

    @property
    def table_columns(self) -> list[Column]:
        """Return the columns of the table: names stand beside what they name."""
        return [self.column(each) for column in self.columns for each in dict.fromkeys([column, self.name_of(column)])]

    # -- Queries -------------------------------------------------------------------------------------------------------

    def rows(self, conditions: Mapping[str, Any], limit: int) -> list[Any]:
        """Return the query of the rows that meet the conditions, and its values.

        A condition is the first and the last day of a column as a tuple, or the list of the values that it may have.
        """
        needed = dict.fromkeys([*self.columns, *self.names, *(self.chart.columns if self.chart else [])])
        as_texts = [name for name in needed if self.column(name).kind in ("text", "other")]
        shown = {name: as_text(own(name)) if name in as_texts else own(name) for name in needed}
        shown |= {name.shown: self.readable(id_) for id_, name in self.names.items()}
        where, values = [sql.SQL("true")], []
        for column, wanted in conditions.items():
            is_range = isinstance(wanted, tuple)
            text = "cast({} as date) between %s and %s" if is_range else "cast({} as text) = any(%s)"
            where.append(sql.SQL(text).format(own(column)))
            values += wanted if is_range else [wanted]
        query = sql.SQL("select {} from {} where {} order by {} limit %s").format(
            COMMA.join(sql.SQL("{} as {}").format(value, sql.Identifier(name)) for name, value in shown.items()),
            self.source(),
            sql.SQL(" and ").join(where),
            COMMA.join(order.format(own(column)) for column, order in self.sort.items()),
        )
        return [query, *values, limit]

    def options(self, choice: Filter) -> sql.Composed:
        """Return the query of the values that a column has, each with its name; how many of them is its value."""
        order = [sql.SQL("max({}) desc nulls last").format(own(choice.largest_first))] if choice.largest_first else []
        return sql.SQL("select {0}, {1} from {2} where {3} is not null group by 1, 2 order by {4} limit %s").format(
            as_text(own(choice.column)),
            self.readable(choice.column),
            self.source(),
            own(choice.column),
            COMMA.join([*order, sql.SQL("2, 1")]),
        )

    def bounds(self, column: str) -> sql.Composed:
        """Return the query of the first and the last day of a column, and of the last one up to a day."""
        query = "select cast(min({0}) as date), cast(max({0}) as date), {1} from {2}"
        return sql.SQL(query).format(own(column), last_day(own(column)), self.source())

    def source(self) -> sql.Composed:
        """Return the mart, joined to the dimensions that have names for it."""
        joins = [
            sql.SQL(" left join {} as {} on {} = {}").format(
                table(name.dimension), sql.Identifier(name.shown), sql.Identifier(name.shown, name.key), own(id_)
            )
            for id_, name in self.names.items()
        ]
        return sql.SQL("{} as mart").format(table(self.mart.name)) + sql.Composed(joins)

    def readable(self, column: str) -> sql.Composed:
        """Return what people read for a column: the name of what it identifies, or itself where there is none."""
        name = self.names.get(column)
        named = [sql.Identifier(name.shown, name.column)] if name else []
        return sql.SQL("coalesce({})").format(COMMA.join(map(as_text, [*named, own(column)])))


def own(column: str) -> sql.Identifier:
    """Return a column of the mart for a query."""
    return sql.Identifier("mart", column)


def last_day(column: sql.Composable) -> sql.Composed:
    """Return the last day of a column up to a day, its value, or the last one of all if there is none."""
    query = "cast(coalesce(max(case when cast({0} as date) <= %s then {0} end), max({0})) as date)"
    return sql.SQL(query).format(column)


def as_text(expression: sql.Composable) -> sql.Composed:
    """Return a value as text for a query."""
    return sql.SQL("cast({} as text)").format(expression)


# -- The declaration ---------------------------------------------------------------------------------------------------


def name_from(id_: str, text: str, marts: Mapping[str, Mart]) -> Name:
    """Return where the names of a column come from, such as dim_thing.thing_name."""
    dimension, _, column = text.rpartition(".")
    if dimension not in marts:
        raise GranaryError(f"names: expected the column of a mart, such as dim_thing.thing_name; found {text}")
    key = marts[dimension].grain or (id_,)
    if len(key) > 1:
        raise GranaryError(f"names: {dimension} can have several rows per {id_}: its key is {', '.join(key)}")
    return Name(id_.removesuffix("_id") + "_name", dimension, key[0], column)


def made(setting: type, given: Any) -> Any:
    """Return a filter or a chart. Raises GranaryError where a setting is unknown, missing, or of another type."""
    fields = {each.name: each for each in dataclasses.fields(setting)}
    check(setting.__name__.lower(), given, fields)
    for name, each in fields.items():
        value = given.get(name, each.default)
        if not isinstance(value, {"int": int, "str": str}.get(each.type, (str, list))):
            raise GranaryError(f"{name}: expected {'a number' if each.type == 'int' else 'the name of a column'}")
    return setting(**given)


def check(what: str, given: Any, known: Iterable[str]) -> None:
    """Raise GranaryError unless these are settings, each of which is known."""
    if not isinstance(given, dict):
        raise GranaryError(f"{what}: expected `name: value`, found {given!r}")
    if unknown := [each for each in given if each not in known]:
        raise GranaryError(f"{what}: unknown setting {', '.join(map(str, unknown))}; choose from {', '.join(known)}")


def as_list(value: Any) -> list[Any]:
    """Return the values of a list, or a single one."""
    return [] if value is None else value if isinstance(value, list) else [value]
