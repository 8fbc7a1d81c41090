"""What is written for a table: its lines in the source, staging, current versions, a mart, and a section of docs."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import Any

from granary.new_feed.layouts import Layout
from granary.new_feed.readings import Column

GROUPS = (  # of a select, by the types in them
    ("ids", lambda column: column.name.endswith("_id") or column.name == "id"),
    ("text", lambda column: column.reading.data_type == "string"),
    ("numerics", lambda column: column.reading.data_type.startswith(("numeric", "bigint"))),
    ("booleans", lambda column: column.reading.data_type == "boolean"),
    ("timestamps", lambda column: True),
)


def models(feed: str, entity: str, columns: list[Column], key: list[str]) -> dict[str, str]:
    """Return the models with their YAML, by their paths from the project's root."""
    key = staged(key, columns)
    staging, current, mart = f"stg_{feed}__{entity}", f"int_{feed}__{entity}", f"fct_{feed}_{entity}"
    models = f"dbt/models/{{}}/{feed}"
    found = {
        f"{models.format('staging')}/{staging}.sql": staging_sql(feed, entity, columns),
        f"{models.format('staging')}/{staging}.yml": staging_yml(feed, entity, columns),
        f"{models.format('marts')}/{mart}.sql": mart_sql(current if key else staging, columns),
        f"{models.format('marts')}/{mart}.yml": mart_yml(feed, entity, columns, key),
    }
    if key:
        found[f"{models.format('intermediate')}/{current}.sql"] = current_sql(staging, key)
        found[f"{models.format('intermediate')}/{current}.yml"] = current_yml(feed, entity, columns, key)
    return found


def staged(key: list[str], columns: list[Column]) -> list[str]:
    """Return the names in staging of the columns of a key."""
    names = {column.name: column.staged for column in columns}
    return [names[name] for name in key]


def flow(value: Any) -> str:
    """Return a value as YAML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {flow(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    if value is None or isinstance(value, (bool, int)):
        return json.dumps(value)
    is_plain = (
        value.replace("_", "").replace("-", "").replace("/", "").replace(".", "").isalnum() and not value[0].isdigit()
    )
    return (
        value
        if is_plain and value.lower() not in ("null", "true", "false", "yes", "no", "on", "off", "nan")
        else json.dumps(value, ensure_ascii=False)
    )


def source(feed: str, table: str) -> str:
    """Return the source of a new feed, given the lines of its table."""
    return f"""groups:
  - name: {feed}
    owner: {{name: Data team}}

sources:
  - name: {feed}
    description: The feed {feed}.
    loader: bin/ingest
    schema: raw
    tables:
{textwrap.indent(table, " " * 6)}"""


def table(feed: str, entity: str, layout: Layout, columns: list[Column], key: list[str]) -> str:
    """Return the lines of a table in its source, with what was seen in the files as comments."""
    meta: list[str] = []
    if layout.format:
        meta.append(f"format: {flow(layout.format)}")
    if layout.records:
        meta.append(f"records: {layout.records}")
    if key:
        names = staged(key, columns)
        own = f", delivered_key: {flow(key)}" if key != names else ""
        meta.append(f"current_version: {{model: int_{feed}__{entity}, key: {flow(names)}{own}}}")
    lines = [
        f"- name: {entity}",
        f"  identifier: {feed}__{entity}",
        f"  description: One row per delivery of {'a key' if key else 'a row'}.",
        *(f"  # {each}" for each in layout.evidence),
    ]
    if meta:
        lines += ["  config:", "    meta:", *(f"      {each}" for each in meta)]
    lines.append("  columns:")
    for column in columns:
        settings = column_settings(column, key)
        lines.append(f"    - name: {flow(column.name)}")
        lines += [f"      # {column.evidence}"] if column.evidence else []
        lines += [f"      config: {{meta: {flow(settings)}}}"] if settings else []
    return "\n".join(lines) + "\n"


def column_settings(column: Column, key: list[str]) -> dict[str, Any]:
    """Return the meta of a column."""
    settings: dict[str, Any] = {} if column.reading.parse == "text" else {"parse": column.reading.parse}
    if column.is_complete or column.name in key:
        settings["required"] = True
    settings |= dict(column.reading.settings)
    if column.nulls:
        settings["nulls"] = column.nulls
    return settings


def grouped(columns: list[Column]) -> Iterator[tuple[str, list[Column]]]:
    """Yield the groups of a select."""
    left = list(columns)
    for name, belongs in GROUPS:
        if found := [column for column in left if belongs(column)]:
            yield name, found
            left = [column for column in left if column not in found]


def with_currencies(columns: list[Column]) -> list[str]:
    """Return the names of the columns of currencies that staging adds."""
    names = {column.name for column in columns}
    return [
        added
        for column in columns
        if {"currency", "currency_from"} & dict(column.reading.settings).keys()
        and (added := f"{column.name}_currency") not in names
    ]


def select(columns: list[Column], from_source: bool = False, indent: str = "        ") -> str:
    """Return the columns of a select, in groups; from the source, those whose name needs quotes get another one."""
    lines = []
    for name, found in grouped(columns):
        lines += [f"{indent}-- {name}", *(f"{indent}{selected(column, from_source)}," for column in found)]
        if name == "text":
            lines += [f"{indent}{each}," for each in with_currencies(columns)]
        lines.append("")
    if with_currencies(columns) and not any(name == "text" for name, _ in grouped(columns)):
        lines = [f"{indent}-- text", *(f"{indent}{each}," for each in with_currencies(columns)), "", *lines]
    return "\n".join([*lines, f"{indent}-- provenance", f"{indent}_batch_id,", f"{indent}_row_id"])


def selected(column: Column, from_source: bool) -> str:
    """Return a column of a select."""
    return f'"{column.name}" as {column.staged}' if from_source and column.is_reserved else column.staged


def staging_sql(feed: str, entity: str, columns: list[Column]) -> str:
    """Return the staging model."""
    return f"""with

source as (

    {{{{ safe_rows('{feed}', '{entity}') }}}}

),

renamed as (

    select
{select(columns, from_source=True)}

    from source

)

select * from renamed
"""


def described(columns: list[Column], with_types: bool, required: list[str]) -> str:
    """Return the columns of a model's YAML."""
    lines = []
    for column in columns:
        is_required = column.staged in required
        lines += [f"      - name: {flow(column.staged)}"]
        lines += [f"        data_type: {column.reading.data_type}"] if with_types else []
        lines += [f"        description: The delivered {column.name.replace('_', ' ')}."]
        if is_required:
            lines += ["        constraints: [{type: not_null}]"] if with_types else ["        data_tests: [not_null]"]
        if f"{column.name}_currency" in with_currencies(columns):
            lines += [f"      - name: {column.name}_currency"]
            lines += ["        data_type: string"] if with_types else []
            lines += [f"        description: ISO 4217 code of the currency of `{column.name}`."]
    for name in ("_batch_id", "_row_id"):
        lines += [f"      - name: {name}"]
        lines += ["        data_type: bigint"] if with_types else []
        lines += [f"        description: '{{{{ doc(\"{name}\") }}}}'"]
        lines += ["        constraints: [{type: not_null}]"] if with_types else []
        if not with_types:
            lines += [f"        data_tests: [{'unique, ' if name == '_row_id' else ''}not_null]"]
    return "\n".join(lines)


def staging_yml(feed: str, entity: str, columns: list[Column]) -> str:
    """Return the YAML of the staging model."""
    name = f"stg_{feed}__{entity}"
    required = [column.staged for column in columns if column.is_complete]
    return f"""models:
  - name: {name}
    description: One row per delivered row that is safe to use, every version of it.
    config: {{group: {feed}}}
    data_tests:
      - holds_or_rejects_each_raw_row:
          name: {name}_holds_or_rejects_each_raw_row
          arguments: {{raw: "source('{feed}', '{entity}')", feed: {feed}, entity: {entity}}}
    columns:
{described(columns, False, required)}
"""


def current_sql(staging: str, key: list[str]) -> str:
    """Return the model of current versions."""
    keys = ", ".join(key)
    unique = f"'{key[0]}'" if len(key) == 1 else f"{key!r}"
    return f"""{{{{ config(
    materialized='incremental',
    unique_key={unique},
    indexes=[
        {{'columns': {key!r}, 'unique': true}},
        {{'columns': ['_batch_id']}},
    ],
) }}}}

with

new_rows as (

    select * from {{{{ ref('{staging}') }}}}
    where _batch_id > {{{{ watermark() }}}}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{{{ dbt_utils.deduplicate('new_rows', '{keys}', '_batch_id desc, _row_id desc') }}}}

)

select * from current_versions
"""


def current_yml(feed: str, entity: str, columns: list[Column], key: list[str]) -> str:
    """Return the YAML of the model of current versions."""
    return f"""models:
  - name: int_{feed}__{entity}
    config:
      group: {feed}
      meta: {{changed_batches: [_batch_id]}}
    description: One row per {" and ".join(key)}, its current version.
    columns:
{described(columns, False, key).replace("[unique, not_null]", "[not_null]")}
"""


def mart_sql(model: str, columns: list[Column]) -> str:
    """Return the mart."""
    return f"""with

delivered as (

    select * from {{{{ ref('{model}') }}}}

),

final as (

    select
{select(columns)}

    from delivered

)

select * from final
"""


def mart_yml(feed: str, entity: str, columns: list[Column], key: list[str]) -> str:
    """Return the YAML of the mart: its contract, its key, its place in the API and on the dashboard."""
    grain = key or ["_row_id"]
    moments = [column.staged for column in columns if column.reading.data_type in ("date", "timestamp")]
    data_until = f"        data_until: {moments[0]}\n" if moments else ""
    rows = f"{' and '.join(key)}, its current version" if key else "delivered row that is safe to use"
    required = [*key, *(column.staged for column in columns if column.is_complete and column.staged not in key)]
    return f"""models:
  - name: fct_{feed}_{entity}
    config:
      group: {feed}
      meta:
        api: true
{data_until}        dashboard: {{title: {entity.replace("_", " ").capitalize()}}}
    description: One row per {rows}.
    constraints: [{{type: primary_key, columns: {flow(grain)}}}]
    columns:
{described(columns, True, required)}
"""


def page(feed: str, section: str) -> str:
    """Return the page of docs of a new feed, given the section of its table."""
    return f"# The feed {feed}\n\n{section}"


def section(feed: str, entity: str, columns: list[Column], key: list[str]) -> str:
    """Return what the docs say of a table."""
    grain = " and ".join(staged(key, columns)) or "line"
    rows = "\n".join(f"| `{column.staged}` | {column.reading.data_type} | {column.evidence} |" for column in columns)
    return f"""`{entity}`: one row per {grain} of the delivered files. The mart is `fct_{feed}_{entity}`.

| column | type | seen in the files |
| --- | --- | --- |
{rows}
"""
