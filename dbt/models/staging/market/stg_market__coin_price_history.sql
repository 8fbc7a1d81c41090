with

source as (

    {{ safe_rows('market', 'coin_price_history') }}

),

renamed as (

    select
        -- ids
        asset_id,

        -- numerics
        close_price_usd,
        market_cap_usd,
        total_volume_usd,

        -- booleans
        -- CoinGecko gives a day's price the timestamp of midnight. The last point of a history is the price at the time of the
        -- request.
        source_ts_ms = date_trunc('day', source_ts_ms) as is_close,

        -- timestamps
        price_date,
        source_ts_ms as priced_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
