with

source as (

    {{ safe_rows('market', 'coin_price_history') }}

),

batches as (

    select * from {{ source('ledger', '_batches') }}

),

dated as (

    select
        source.*,
        source.source_ts_ms = date_trunc('day', source.source_ts_ms) as is_midnight,
        coalesce(source.price_date > {{ latest_day_at('batches.finished_at') }}, false) as is_dated_after_delivery
    from source
    left join batches
        on source._batch_id = batches.batch_id

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
        -- CoinGecko gives a day's price the timestamp of midnight. Other points are prices during the day. In its last two hours
        -- they may stand in for the close; at 10:14, nobody knows how the day ends.
        is_midnight,
        (is_midnight or extract(hour from source_ts_ms) >= 22) and not is_dated_after_delivery as is_close,
        is_dated_after_delivery,

        -- timestamps
        price_date,
        -- A midnight ends the day before.
        cast(source_ts_ms - interval '1 millisecond' as date) as close_of_date,
        source_ts_ms as priced_at,

        -- provenance
        _batch_id,
        _row_id

    from dated

)

select * from renamed
