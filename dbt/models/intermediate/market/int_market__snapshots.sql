{{ config(
    materialized='incremental',
    unique_key=['asset_id', 'snapshot_at'],
    indexes=[
        {'columns': ['asset_id', 'snapshot_at'], 'unique': true},
        {'columns': ['snapshot_at']},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_snapshots as (

    select * from {{ ref('stg_market__coin_markets_snapshot') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_snapshots', 'asset_id, snapshot_at', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
