{{ config(
    materialized='incremental',
    unique_key='asset_id',
    indexes=[
        {'columns': ['asset_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_snapshots as (

    select * from {{ ref('int_market__snapshots') }}
    where _batch_id > {{ watermark() }}

),

-- A snapshot may be delivered late, so the stored one is compared with the new ones.
competing as (

    select
        asset_id,
        symbol,
        asset_name,
        snapshot_at,
        _batch_id,
        _row_id
    from new_snapshots

    {% if is_incremental() %}

    union all

    select
        asset_id,
        symbol,
        asset_name,
        snapshot_at,
        _batch_id,
        _row_id
    from {{ this }}
    where asset_id in (select new_snapshots.asset_id from new_snapshots)

    {% endif %}

),

-- The latest snapshot wins, whenever it was delivered. A correction of the stored snapshot has the same time: the later batch
-- wins.
latest_snapshots as (

    {{ dbt_utils.deduplicate('competing', 'asset_id', 'snapshot_at desc, _batch_id desc, _row_id desc') }}

)

select * from latest_snapshots
