with

source as (

    {{ safe_rows('market', 'coin_markets_snapshot') }}

),

renamed as (

    select
        -- ids
        asset_id,

        -- text
        symbol,
        name as asset_name,

        -- numerics
        current_price_usd as price_usd,
        market_cap_usd,
        market_cap_rank,
        total_volume_usd,
        high_24h_usd,
        low_24h_usd,
        pct_change_24h as change_24h_pct,
        circulating_supply,
        total_supply,
        max_supply,
        ath_usd,
        atl_usd,

        -- timestamps
        ingested_at_ts as snapshot_at,
        ath_date as ath_at,
        atl_date as atl_at,
        last_updated_ts as updated_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
