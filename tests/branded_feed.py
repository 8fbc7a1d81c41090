"""A copy of the project whose only feed stands for brands: wl, with a landing table of pages and one mart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from own_feed import copy_with_own_feed

FILES = {
    "staging/wl/_wl__sources.yml": """
groups: [{name: wl, owner: {name: Data team}}]
sources:
  - name: wl
    description: Page views of all white-label brands.
    loader: bin/ingest
    schema: raw
    config: {meta: {feeds: wl_*, schemas: wl_%}}
    tables:
      - name: pages
        identifier: wl__pages
        config:
          meta:
            current_version: {model: int_wl__pages, key: [brand, page_id], delivered_key: [_brand, page_id]}
        columns:
          - {name: page_id, config: {meta: {required: true}}}
          - {name: seconds, config: {meta: {parse: integer, required: true}}}
          - {name: title, config: {meta: {optional: true}}}
""",
    "staging/wl/stg_wl__pages.sql": """
{{ config(group='wl') }}
with source as ({{ safe_rows('wl', 'pages') }})
select _brand as brand, page_id, seconds, title, _extra, _batch_id, _row_id from source
""",
    "staging/wl/stg_wl__pages.yml": """
models:
  - name: stg_wl__pages
    data_tests:
      - holds_or_rejects_each_raw_row:
          arguments: {raw: "source('wl', 'pages')", feed: wl, entity: pages}
    columns: [{name: brand}, {name: page_id}, {name: seconds}, {name: title}, {name: _extra}]
""",
    "intermediate/wl/int_wl__pages.sql": """
{{ config(group='wl', materialized='incremental', unique_key=['brand', 'page_id']) }}
with staged as (select * from {{ ref('stg_wl__pages') }} where _batch_id > {{ watermark() }})
{{ dbt_utils.deduplicate('staged', 'brand, page_id', '_batch_id desc, _row_id desc') }}
""",
    "marts/wl/fct_wl_pages.sql": "select brand, page_id, seconds, title, _extra from {{ ref('int_wl__pages') }}",
    "marts/wl/fct_wl_pages.yml": """
models:
  - name: fct_wl_pages
    config: {group: wl}
    constraints: [{type: primary_key, columns: [brand, page_id]}]
    columns:
      - {name: brand, data_type: string}
      - {name: page_id, data_type: string}
      - {name: seconds, data_type: bigint}
      - {name: title, data_type: string}
      - {name: _extra, data_type: string}
""",
}


def copy_with_branded_feed(root: Path, succeed: Callable[..., object]) -> Path:
    """Make the copy, whose commands `succeed` runs."""
    return copy_with_own_feed(root, succeed, FILES)
