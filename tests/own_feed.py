"""A copy of the project whose only feed is one of its own: bar, with a landing table of sales and one mart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from conftest import copy_of_project
from granary import declared

FILES = {
    "staging/bar/_bar__sources.yml": """
groups: [{name: bar, owner: {name: Data team}}]
sources:
  - name: bar
    loader: bin/ingest
    schema: raw
    tables:
      - name: sales
        identifier: bar__sales
        config:
          meta:
            current_version: {model: int_bar__sales, key: [sale_id]}
            amounts:
              - measure: paid
                title: Paid
                delivered: "{price}"
                staged: "{price}"
                marts: [{mart: fct_bar_sales, amount: sum(price), rows: count(*)}]
        columns:
          - {name: sale_id, config: {meta: {required: true}}}
          - {name: price, config: {meta: {parse: amount, required: true}}}
          - {name: sold_on, config: {meta: {parse: date, required: true}}}
          - {name: note, config: {meta: {must: "length({note}) < 9"}}}
""",
    "staging/bar/stg_bar__sales.sql": "{{ config(group='bar') }}\n{{ safe_rows('bar', 'sales') }}\n",
    "intermediate/bar/int_bar__sales.sql": """
{{ config(group='bar', materialized='incremental', unique_key='sale_id') }}
with staged as (select * from {{ ref('stg_bar__sales') }} where _batch_id > {{ watermark() }})
{{ dbt_utils.deduplicate('staged', 'sale_id', '_batch_id desc, _row_id desc') }}
""",
    "marts/bar/fct_bar_sales.sql": "select sale_id, price, note from {{ ref('int_bar__sales') }}",
    "marts/bar/fct_bar_sales.yml": """
models:
  - name: fct_bar_sales
    config: {group: bar}
    columns:
      - {name: sale_id, data_type: string}
      - {name: price, data_type: "numeric(18, 2)"}
      - {name: note, data_type: string}
""",
}
HEADER = "sale_id,price,sold_on,note"


def copy_with_own_feed(root: Path, succeed: Callable[..., object], files: Mapping[str, str] = FILES) -> Path:
    """Make the copy, whose commands `succeed` runs, with the files of the feed in place of all others."""
    copy_of_project(root)
    if declared.feeds():
        succeed("bin/feed", "remove", "--yes", "--force", *declared.units())
    for name, text in files.items():
        path = root / "dbt" / "models" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    succeed("bin/feed", "sync")
    return root
