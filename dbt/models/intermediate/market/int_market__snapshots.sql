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

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by asset_id, snapshot_at order by _batch_id desc, _row_id desc) as version_rank
    from new_snapshots

),

current_versions as (

    select
        -- ids
        asset_id,

        -- text
        symbol,
        asset_name,

        -- numerics
        price_usd,
        market_cap_usd,
        market_cap_rank,
        total_volume_usd,
        high_24h_usd,
        low_24h_usd,
        change_24h_pct,
        circulating_supply,
        total_supply,
        max_supply,
        ath_usd,
        atl_usd,

        -- timestamps
        snapshot_at,
        ath_at,
        atl_at,
        updated_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
