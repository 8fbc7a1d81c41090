{{ config(
    materialized='incremental',
    unique_key=['asset_id', 'price_date'],
    indexes=[
        {'columns': ['asset_id', 'price_date'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

-- A price during the day is never used as the day's price, however late it is delivered.
new_prices as (

    select * from {{ ref('stg_market__coin_price_history') }}
    where
        is_close
        and _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_prices', 'asset_id, price_date', '_batch_id desc, _row_id desc') }}

),

final as (

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

    from current_versions

)

select * from final
