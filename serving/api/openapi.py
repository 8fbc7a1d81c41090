"""The OpenAPI document: openapi.yml, with a path and a schema for each endpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from . import pages
from .endpoints import Column, Endpoint, Filter
from .formats import FORMATS

ERRORS = {
    400: "A parameter is unknown, or its value can't be used; `parameters` says which and why.",
    401: "There is no valid token.",
    403: "The token may not read this feed.",
    404: "There is nothing at this path.",
    405: "The method is not GET.",
    406: "The header Accept names none of the formats.",
    414: "The query is too long.",
    429: "The token's requests are used up. Retry-After says when there are new ones.",
    500: "The API failed.",
    503: "The mart or the database can't answer now. Retry-After says when to try again.",
}
SCHEMAS = {  # of values, by the kind of their column
    "integer": {"type": "integer", "examples": [19]},
    "number": {"type": "number", "examples": [841.22]},
    "text": {"type": "string", "examples": ["a text"]},
    "boolean": {"type": "boolean", "examples": [True]},
    "date": {"type": "string", "format": "date", "examples": ["2026-02-08"]},
    "time": {"type": "string", "format": "date-time", "examples": ["2026-02-03T10:40:00+00:00"]},
    "other": {},
}


def document(prefix: str, endpoints: list[Endpoint]) -> dict[str, Any]:
    """Return the document."""
    found = yaml.safe_load(Path(__file__).with_suffix(".yml").read_text("utf-8"))
    found["tags"] = [{"name": feed} for feed in sorted({endpoint.feed for endpoint in endpoints})]
    found["paths"] = {f"{prefix}{path}": item for path, item in found["paths"].items()}
    for item in found["paths"].values():
        item["get"]["responses"]["200"]["headers"] = headers("Granary-Build")
        item["get"]["responses"] |= errors(400, 405, 414, 500, 503)
    found["components"]["responses"] = {str(status): problem(status) for status in ERRORS}
    for endpoint in endpoints:
        found["paths"][f"{prefix}/{endpoint.path}"] = {"get": operation(endpoint)}
        found["components"]["schemas"][endpoint.path] = row(endpoint)
    return found


def problem(status: int) -> dict[str, Any]:
    """Describe an answer that is a problem document."""
    names = ["Granary-Build", *(["Retry-After"] if status in (429, 503) else [])]
    content = {"application/problem+json": {"schema": reference("schemas", "Problem")}}
    return {"description": ERRORS[status], "headers": headers(*names), "content": content}


def operation(endpoint: Endpoint) -> dict[str, Any]:
    """Describe the one operation of an endpoint."""
    envelope = {
        "type": "object",
        "required": ["meta", "next", "data"],
        "properties": {
            "meta": reference("schemas", "Meta"),
            "next": {"type": ["string", "null"], "description": "Address of the next page; null on the last one."},
            "data": {"type": "array", "items": reference("schemas", endpoint.path)},
        },
    }
    schemas = {"json": envelope, "csv": {"type": "string"}, "parquet": {"type": "string", "format": "binary"}}
    content = {FORMATS[form]: {"schema": schema} for form, schema in schemas.items()}
    always = ["Granary-Build", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "ETag"]
    return {
        "operationId": endpoint.path,
        "tags": [endpoint.feed],
        "summary": endpoint.summary,
        "description": f"From the mart `{endpoint.mart}` of `{endpoint.feed}`.",
        "parameters": [*[filter_parameter(endpoint, each) for each in endpoint.filters], *own_parameters(endpoint)],
        "responses": {
            "200": {"description": "A page of rows.", "headers": headers(*always, "Link"), "content": content},
            "304": {"description": "What If-None-Match names still holds.", "headers": headers(*always)},
            **errors(*ERRORS),
        },
    }


def row(endpoint: Endpoint) -> dict[str, Any]:
    """Describe a row."""
    return {
        "type": "object",
        "description": f"A row of the mart `{endpoint.mart}`.",
        "required": [*endpoint.columns],
        "properties": {name: value(column, name in endpoint.key) for name, column in endpoint.columns.items()},
        "additionalProperties": False,
    }


def value(column: Column, is_key: bool) -> dict[str, Any]:
    """Describe a column."""
    described = {**SCHEMAS[column.kind], "description": column.description}
    if "type" in described and not is_key:
        described["type"] = [described["type"], "null"]
    return described | ({"x-unit": column.unit} if column.unit else {})


def filter_parameter(endpoint: Endpoint, each: Filter) -> dict[str, Any]:
    """Describe a filter."""
    column = endpoint.columns[each.column]
    if each.operator != "=":
        words = f"The {'first' if each.operator == '>=' else 'last'} `{each.column}` to return."
        return parameter(each.parameter, words, {"type": "string", "format": "date"}, example="2026-02-01")
    items = {"type": "string", "minLength": 1, "pattern": f"^({pages.VALUES[column.kind][0]})$"}
    schema = {"type": "array", "items": items, "minItems": 1, "maxItems": pages.MOST_VALUES}
    words = f"Only rows with this `{each.column}`; give it again for one more. {column.description}"
    return parameter(each.parameter, words.strip(), schema)


def own_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Describe the parameters that each endpoint has."""
    limit = {"type": "integer", "minimum": 1, "maximum": pages.LARGEST_LIMIT, "default": pages.DEFAULT_LIMIT}
    sort = {"type": "string", "enum": endpoint.sorts, "default": endpoint.default_sort}
    by = ", then by ".join(f"`{name}`" for name in endpoint.key) or "the key"
    order = f"The column to sort by, with `-` in front for descending. Nulls come last; ties are sorted by {by}."
    return [
        parameter("limit", "Number of rows on a page.", limit),
        parameter("sort", order, sort),
        parameter(
            "cursor", "Where the page begins: part of the address in `next`.", {"type": "string", "minLength": 1}
        ),
        parameter("format", "Wins over the header Accept.", {"type": "string", "enum": list(FORMATS)}),
    ]


def parameter(name: str, words: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Describe a parameter of the query."""
    return {"name": name, "in": "query", "required": False, "description": words, "schema": schema, **more}


def errors(*statuses: int) -> dict[str, Any]:
    """Refer to answers that are problem documents."""
    return {str(status): reference("responses", str(status)) for status in statuses}


def headers(*names: str) -> dict[str, Any]:
    """Refer to headers."""
    return {name: reference("headers", name) for name in names}


def reference(kind: str, name: str) -> dict[str, str]:
    """Refer to a component."""
    return {"$ref": f"#/components/{kind}/{name}"}
