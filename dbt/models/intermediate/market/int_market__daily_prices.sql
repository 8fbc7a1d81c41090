{{ config(
    materialized='incremental',
    unique_key=['asset_id', 'price_date'],
    indexes=[
        {'columns': ['asset_id', 'price_date'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

-- The price of a moment within a day is never taken for the day's, however late it is delivered.
new_prices as (

    select * from {{ ref('stg_market__coin_price_history') }}
    where
        is_close
        and _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by asset_id, price_date order by _batch_id desc, _row_id desc) as version_rank
    from new_prices

),

current_versions as (

    select
        -- ids
        asset_id,

        -- numerics
        close_price_usd,
        market_cap_usd,
        total_volume_usd,

        -- timestamps
        price_date,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
