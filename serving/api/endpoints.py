"""What the API serves: each mart whose YAML has `config.meta.api`, either `true` or a mapping such as

    api: {path: visits, summary: "Visits, by day", filters: [visit_date], sort: -visit_date}

docs/api.md explains the keys. Nothing here needs the database; `as_built` compares a declaration with what is built.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from granary import declared, project

from .problems import unavailable

OPTIONS = ["path", "summary", "columns", "filters", "sortable", "sort"]
OWN_PARAMETERS = ["limit", "sort", "cursor", "format"]
UNITS = {"_usd": "USD", "_pct": "percent", "_days": "days"}  # by the end of a name; a column's meta `unit` wins


class Invalid(ValueError):
    """A declaration that can't be used; the message says why and what is allowed."""


@dataclass(frozen=True)
class Column:
    """A column of an endpoint. Type and description are the database's once the mart is built."""

    name: str
    type: str
    unit: str | None
    description: str = ""

    @functools.cached_property
    def kind(self) -> str:
        """Return what the column holds, which says how it is filtered and described."""
        return declared.kind_of(self.type)


@dataclass(frozen=True)
class Filter:
    """A parameter that selects rows: `column operator value`. Several values of `=` mean any of them."""

    parameter: str
    column: str
    operator: str = "="


@dataclass(frozen=True, eq=False)
class Endpoint:
    """A mart, and what a request may ask of it. The key is the mart's grain: it breaks ties, and is never null."""

    path: str
    mart: str
    feed: str  # the scope that a token needs
    summary: str
    columns: dict[str, Column]
    filters: list[Filter]
    sortable: list[str]
    sort: str  # the order where none is asked for; `-` in front means descending; empty: by the key
    key: tuple[str, ...]
    file: str  # the YAML that declares it

    @property
    def default_sort(self) -> str:
        """Return the order where none is asked for."""
        return self.sort or next(name for name in [*self.key, *self.sortable] if name in self.sortable)

    @property
    def sorts(self) -> list[str]:
        """Return the values that the parameter `sort` may have."""
        return [sign + column for column in self.sortable for sign in ("", "-")]


def read_endpoints() -> tuple[dict[str, Endpoint], dict[str, str]]:
    """Return the endpoints by path, and by path what is wrong with the declarations that can't be used."""
    found: dict[str, Endpoint] = {}
    broken, doubled = {}, {}
    for mart in declared.marts().values():
        if mart.meta.get("api", False) is False:
            continue
        file = str(mart.path.relative_to(project.ROOT))
        try:
            endpoint = read_endpoint(mart, file)
        except Invalid as error:
            broken[mart.name] = f"{file}: meta.api: {error}"
            continue
        first = found.setdefault(endpoint.path, endpoint)
        if first is not endpoint:
            doubled[endpoint.path] = f"{file}: meta.api: {first.file} has the path {endpoint.path}, too: rename one"
    return {path: endpoint for path, endpoint in found.items() if path not in doubled}, broken | doubled


def read_endpoint(mart: declared.Mart, file: str) -> Endpoint:
    """Return the endpoint that a mart declares."""
    given = {} if mart.meta["api"] is True else mart.meta["api"]
    if not isinstance(given, Mapping):
        raise Invalid(f"expected true or a mapping of {', '.join(OPTIONS)}; found {given!r}")
    choose("key", given, OPTIONS)
    path = given.get("path") or mart.name
    if not isinstance(path, str) or not re.fullmatch("[a-z][a-z0-9_]*", path) or path == "health":
        raise Invalid(f"invalid path {path!r}: use lowercase letters, digits and _, and not health")
    public = {column.name: read_column(column) for column in mart.public_columns}
    if not public:
        raise Invalid("the model declares no columns: list them under `columns`")
    columns = {name: public[name] for name in choose("column", given.get("columns") or [*public], public)}
    if left_out := [name for name in mart.grain if name not in columns]:
        raise Invalid(f"the columns must include the primary key: add {', '.join(left_out)}")
    sortable = choose("column in sortable", given.get("sortable") or [*columns], columns)
    sort = str(given.get("sort") or "")
    choose("column in sort", [sort.removeprefix("-")] if sort else [], sortable)
    sentence = mart.description.partition(". ")[0].removesuffix(".")
    return Endpoint(
        path=path,
        mart=mart.name,
        feed=mart.feed,
        summary=str(given.get("summary") or (sentence if sentence and "{{" not in sentence else mart.name)),
        columns=columns,
        filters=read_filters(given.get("filters") or [], columns),
        sortable=sortable,
        sort=sort,
        key=mart.grain,
        file=file,
    )


def choose(what: str, names: Any, allowed: Iterable[str]) -> list[str]:
    """Return the names. Raises Invalid, naming what is allowed, if one isn't."""
    allowed = [*allowed]
    if not isinstance(names, list | Mapping):
        raise Invalid(f"expected a list for each {what}; found {names!r}")
    if unknown := [name for name in names if name not in allowed]:
        raise Invalid(f"unknown {what} {unknown[0]!r}: choose from {', '.join(allowed)}")
    return list(names)


def read_column(column: declared.Column) -> Column:
    """Return a column as its YAML declares it."""
    unit = next((unit for end, unit in UNITS.items() if column.name.endswith(end)), None)
    return Column(column.name, column.data_type, column.meta.get("unit", unit))


def read_filters(given: Any, columns: dict[str, Column]) -> list[Filter]:
    """Return the filters of a list whose items are columns or {parameter: column}. A date has two: from and to."""
    found = []
    for item in given if isinstance(given, list) else [given]:
        pairs = [*item.items()] if isinstance(item, Mapping) else [(None, item)]
        for parameter, column in pairs:
            choose("column in filters", [column], columns)
            if (kind := columns[column].kind) in ("time", "other"):
                raise Invalid(f"{column} can't be a filter: its data_type must be a date, text, number or boolean")
            if kind == "date":
                start = f"{parameter}_" if parameter else ""
                found += [Filter(f"{start}from", column, ">="), Filter(f"{start}to", column, "<=")]
            else:
                found.append(Filter(str(parameter or column), column))
    names = [*OWN_PARAMETERS, *(each.parameter for each in found)]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Invalid(f"two parameters are called {twice[0]}: rename one in filters, as in `{{name: column}}`")
    return found


def as_built(endpoint: Endpoint, built: Mapping[str, Any]) -> Endpoint:
    """Return the endpoint with types, descriptions and key as the mart's table has them (database.columns).

    Raises a problem that says what is missing.
    """
    build = f"bin/dbt build --select +{endpoint.mart}"
    if not built:
        raise unavailable(f"marts.{endpoint.mart} isn't built yet: run {build}.", seconds=60)
    if missing := [name for name in endpoint.columns if name not in built]:
        words = f"marts.{endpoint.mart} has no column {', '.join(missing)}, which {endpoint.file} declares"
        raise unavailable(f"{words}: run {build} --full-refresh.", seconds=60)
    key = endpoint.key or tuple(sorted((n for n in built if built[n].place is not None), key=lambda n: built[n].place))
    if not key or not endpoint.columns.keys() >= set(key):
        words = f"marts.{endpoint.mart} has no key, which its pages need: declare a primary key in {endpoint.file}"
        raise unavailable(f"{words} (constraints), and run {build} --full-refresh.", seconds=60)
    columns = {
        name: dataclasses.replace(column, type=built[name].type, description=" ".join(built[name].description.split()))
        for name, column in endpoint.columns.items()
    }
    for name in {each.column for each in endpoint.filters}:
        if columns[name].kind != endpoint.columns[name].kind:
            words = f"{name} in marts.{endpoint.mart} is {columns[name].type}, but {endpoint.columns[name].type} in"
            raise unavailable(f"{words} {endpoint.file}: correct it, or run {build} --full-refresh.", seconds=60)
    return dataclasses.replace(endpoint, columns=columns, key=key)
