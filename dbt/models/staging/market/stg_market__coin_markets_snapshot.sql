with

source as (

    {{ safe_rows('market', 'coin_markets_snapshot') }}

),

batches as (

    select * from {{ source('ledger', '_batches') }}

),

renamed as (

    select
        -- ids
        source.asset_id,

        -- text
        source.symbol,
        source.name as asset_name,
        source.request_scope,

        -- numerics
        source.current_price_usd as price_usd,
        source.market_cap_usd,
        source.market_cap_rank,
        source.total_volume_usd,
        source.high_24h_usd,
        source.low_24h_usd,
        source.pct_change_24h as change_24h_pct,
        source.circulating_supply,
        source.total_supply,
        source.max_supply,
        source.ath_usd,
        source.atl_usd,
        source.requested_count,

        -- booleans
        source.is_whole,
        coalesce(
            cast(source.ingested_at_ts as date) > {{ latest_day_at('batches.finished_at') }}, false
        ) as is_dated_after_delivery,

        -- timestamps
        source.ingested_at_ts as snapshot_at,
        source.ath_date as ath_at,
        source.atl_date as atl_at,
        source.last_updated_ts as updated_at,

        -- provenance
        source._batch_id,
        source._row_id

    from source
    left join batches
        on source._batch_id = batches.batch_id

)

select * from renamed
