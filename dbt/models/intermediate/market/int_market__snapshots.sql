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
    where
        _batch_id > {{ watermark() }}
        -- It would be the latest snapshot for years.
        and not is_dated_after_delivery

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_snapshots', 'asset_id, snapshot_at', '_batch_id desc, _row_id desc') }}

),

final as (

    select
        -- ids
        asset_id,

        -- text
        symbol,
        asset_name,
        request_scope,

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
        requested_count,

        -- booleans
        is_whole,

        -- timestamps
        snapshot_at,
        ath_at,
        atl_at,
        updated_at,

        -- provenance
        _batch_id,
        _row_id

    from current_versions

)

select * from final
