"""The OpenAPI document. Types and descriptions of columns are those of the marts, so that each is said once, in dbt."""

from __future__ import annotations

from typing import Any

from . import pages
from .database import Column
from .endpoints import Endpoint, Filter

UNITS = {"_usd": "USD", "sma_7d_close": "USD", "_pct": "percent", "_days": "days", "days_between_orders": "days"}
DESCRIPTION = """
Marts of the warehouse, as JSON, CSV or Parquet. Amounts are exact: JSON has them as numbers with all their digits, so
read them as decimals. Each answer names the build that it comes from. Every path but `health` needs a token:
`Authorization: Bearer ...`.
"""
ERRORS = {
    400: "A parameter is unknown, or its value can't be used; `parameters` says which and why.",
    401: "There is no valid token.",
    403: "The token may not read this feed.",
    404: "There is nothing at this path.",
    405: "Another method than GET.",
    406: "None of the formats that the header Accept names.",
    429: "The token's requests are used up. Retry-After says when there are new ones.",
    500: "A mistake of the API.",
    503: "The database can't answer now. Retry-After says when to try again.",
}
PROBLEM = {
    "type": "object",
    "description": "A problem document (RFC 9457).",
    "required": ["type", "title", "status", "detail"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string", "description": "The status in words."},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What is wrong, and what to do."},
        "parameters": {
            "type": "object",
            "description": "What is wrong with each parameter.",
            "additionalProperties": {"type": "string"},
        },
    },
    "examples": [
        {
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "Correct these parameters: limit: give a whole number from 1 to 1000.",
            "parameters": {"limit": "give a whole number from 1 to 1000"},
        }
    ],
}
META = {
    "type": "object",
    "required": ["build_id", "built_at", "mart", "row_count"],
    "properties": {
        "build_id": {"type": ["string", "null"], "description": "The latest build that passed."},
        "built_at": {"type": ["string", "null"], "format": "date-time", "description": "When that build ended."},
        "mart": {"type": "string", "description": "The table that the rows are from."},
        "row_count": {"type": "integer", "description": "Number of rows on this page."},
    },
}
HEALTH = {
    "type": "object",
    "required": ["status", "build", "latest_build_status", "feeds"],
    "properties": {
        "status": {"const": "ok"},
        "build": {
            "type": ["object", "null"],
            "description": "The latest build that passed; null before there is one.",
            "required": ["id", "finished_at", "status"],
            "properties": {
                "id": {"type": "string"},
                "finished_at": {"type": "string", "format": "date-time"},
                "status": {"const": "passed"},
            },
        },
        "latest_build_status": {
            "enum": ["passed", "failed", None],
            "description": "How the latest build of all ended; null before there is one.",
        },
        "feeds": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["feed", "last_loaded_at"],
                "properties": {
                    "feed": {"type": "string"},
                    "last_loaded_at": {
                        "type": "string",
                        "format": "date-time",
                        "description": "When a file of the feed was last loaded.",
                    },
                },
            },
        },
    },
}
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
HEADERS = {
    "Granary-Build": {"description": "The latest build that passed.", "schema": TEXT},
    "RateLimit-Limit": {"description": "Requests that the token has in each window.", "schema": NUMBER},
    "RateLimit-Remaining": {"description": "Requests that are left in this window.", "schema": NUMBER},
    "RateLimit-Reset": {"description": "Seconds until the next window.", "schema": NUMBER},
}
RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": NUMBER}}
TAG = {"ETag": {"description": "Send it as If-None-Match to learn whether anything has changed.", "schema": TEXT}}
LINK = {"Link": {"description": 'The next page, as `<...>; rel="next"`, if there is one.', "schema": TEXT}}


def document(prefix: str, endpoints: list[Endpoint], columns: dict[str, dict[str, Column]]) -> dict[str, Any]:
    """Return what makes up the document besides its title."""
    paths = {
        f"{prefix}/{endpoint.name}": {"get": operation(endpoint, columns[endpoint.name])} for endpoint in endpoints
    }
    return {
        "info": {"title": "Granary", "version": "1", "description": DESCRIPTION.strip()},
        "servers": [{"url": "/"}],
        "tags": [{"name": feed} for feed in sorted({endpoint.feed for endpoint in endpoints})],
        "security": [{"token": []}],
        "paths": {f"{prefix}/health": {"get": health()}, **paths},
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Problem": PROBLEM,
                "Meta": META,
                "Health": HEALTH,
                **{endpoint.name: row(endpoint, columns[endpoint.name]) for endpoint in endpoints},
            },
        },
    }


def health() -> dict[str, Any]:
    """Describe the path that needs no token."""
    content = {"application/json": {"schema": reference("Health")}}
    found = {"description": "The API and its database answer.", "content": content, "headers": only("Granary-Build")}
    return {
        "operationId": "health",
        "summary": "Which build is served, and how fresh each feed is",
        "security": [],
        "responses": {"200": found, **errors(400, 405, 500, 503)},
    }


def operation(endpoint: Endpoint, columns: dict[str, Column]) -> dict[str, Any]:
    """Describe the one operation of an endpoint."""
    envelope = {
        "type": "object",
        "required": ["meta", "next", "data"],
        "properties": {
            "meta": reference("Meta"),
            "next": {"type": ["string", "null"], "description": "Address of the next page; null on the last one."},
            "data": {"type": "array", "items": reference(endpoint.name)},
        },
    }
    content = {
        pages.FORMATS["json"]: {"schema": envelope},
        pages.FORMATS["csv"]: {"schema": TEXT},
        pages.FORMATS["parquet"]: {"schema": {"type": "string", "format": "binary"}},
    }
    page = {"description": "A page of rows.", "content": content, "headers": {**HEADERS, **TAG, **LINK}}
    unchanged = {"description": "What If-None-Match names still holds.", "headers": {**HEADERS, **TAG}}
    return {
        "operationId": endpoint.name,
        "tags": [endpoint.feed],
        "summary": endpoint.summary,
        "description": f"From the mart `{endpoint.mart}`; needs the feed `{endpoint.feed}`.",
        "parameters": [
            *[filter_parameter(each, columns) for each in endpoint.filters],
            *own_parameters(endpoint),
        ],
        "responses": {"200": page, "304": unchanged, **errors(*ERRORS)},
    }


def row(endpoint: Endpoint, columns: dict[str, Column]) -> dict[str, Any]:
    """Describe a row."""
    return {
        "type": "object",
        "description": f"A row of the mart `{endpoint.mart}`.",
        "required": endpoint.columns,
        "properties": {name: value(endpoint, column) for name, column in columns.items()},
        "additionalProperties": False,
    }


def value(endpoint: Endpoint, column: Column) -> dict[str, Any]:
    """Describe a column."""
    kind, form, example = {
        "bigint": ("integer", None, 7),
        "boolean": ("boolean", None, True),
        "date": ("string", "date", "2026-02-08"),
        "integer": ("integer", None, 19),
        "text": ("string", None, "a text"),
        "timestamp without time zone": ("string", "date-time", "2026-02-03T10:40:00+00:00"),
    }.get(column.type, ("number", None, 841.22))
    unit = next((unit for end, unit in UNITS.items() if column.name.endswith(end)), None)
    described = {
        "type": kind if column.name in endpoint.key else [kind, "null"],
        "format": form,
        "description": column.description,
        "x-unit": unit,
        "examples": [example],
    }
    return {name: each for name, each in described.items() if each is not None}


def filter_parameter(each: Filter, columns: dict[str, Column]) -> dict[str, Any]:
    """Describe a filter."""
    column = columns[each.column]
    if each.operator == "=":
        schema = {
            "type": "array",
            "items": {"type": "string", "minLength": 1, "pattern": "^[^\\x00]+$"},
            "minItems": 1,
            "maxItems": pages.MOST_VALUES,
        }
        words = f"Rows with this `{each.column}` only; give it again for one more. {column.description}"
        return parameter(each.parameter, words, schema)
    side = "first" if each.operator == ">=" else "last"
    schema = {"type": "string", "format": "date"}
    return parameter(each.parameter, f"The {side} `{each.column}` to return.", schema, example="2026-02-01")


def own_parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    """Describe the parameters that each endpoint has."""
    limit = {"type": "integer", "minimum": 1, "maximum": pages.LARGEST_LIMIT, "default": pages.DEFAULT_LIMIT}
    sort = {"type": "string", "enum": endpoint.sorts, "default": endpoint.sort}
    by = ", then by ".join(f"`{name}`" for name in endpoint.key)
    order = f"The column to sort by, with `-` in front for descending. Nulls come last; equals are sorted by {by}."
    return [
        parameter("limit", "Number of rows on a page.", limit),
        parameter("sort", order, sort),
        parameter("cursor", "Where the page begins: part of the address in `next`.", {"type": "string"}),
        parameter("format", "Wins over the header Accept.", {"type": "string", "enum": list(pages.FORMATS)}),
    ]


def parameter(name: str, words: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Describe a parameter of the query."""
    return {"name": name, "in": "query", "required": False, "description": words, "schema": schema, **more}


def errors(*statuses: int) -> dict[str, Any]:
    """Describe answers that are problem documents."""
    return {
        str(status): {
            "description": ERRORS[status],
            "content": {"application/problem+json": {"schema": reference("Problem")}},
            "headers": only("Granary-Build") | (RETRY_AFTER if status in (429, 503) else {}),
        }
        for status in statuses
    }


def only(*names: str) -> dict[str, Any]:
    """Return some of the headers."""
    return {name: HEADERS[name] for name in names}


def reference(name: str) -> dict[str, str]:
    """Return a reference to a schema."""
    return {"$ref": f"#/components/schemas/{name}"}
