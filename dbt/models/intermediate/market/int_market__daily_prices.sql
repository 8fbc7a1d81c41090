{{ config(
    materialized='incremental',
    unique_key=['asset_id', 'close_of_date'],
    indexes=[
        {'columns': ['asset_id', 'close_of_date'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_prices as (

    select * from {{ ref('stg_market__coin_price_history') }}
    where
        is_close
        and _batch_id > {{ watermark() }}

),

{% if is_incremental() %}

new_days as (

    select distinct
        asset_id,
        close_of_date
    from new_prices

),

{% endif %}

-- A price during the day never replaces that of the midnight that ends it, however late it is delivered, so the stored price is
-- compared with the new ones.
competing as (

    select
        asset_id,
        close_price_usd,
        market_cap_usd,
        total_volume_usd,
        is_midnight as is_midnight_close,
        price_date,
        close_of_date,
        priced_at,
        _batch_id,
        _row_id
    from new_prices

    {% if is_incremental() %}

    union all

    select
        known.asset_id,
        known.close_price_usd,
        known.market_cap_usd,
        known.total_volume_usd,
        known.is_midnight_close,
        known.price_date,
        known.close_of_date,
        known.priced_at,
        known._batch_id,
        known._row_id
    from {{ this }} as known
    inner join new_days
        on
            known.asset_id = new_days.asset_id
            and known.close_of_date = new_days.close_of_date

    {% endif %}

),

-- Midnight wins, then the latest price of the day. Of several versions of it, the latest batch wins, then the latest row.
current_versions as (

    {{ dbt_utils.deduplicate(
        'competing', 'asset_id, close_of_date', 'is_midnight_close desc, priced_at desc, _batch_id desc, _row_id desc'
    ) }}

),

final as (

    select
        -- ids
        asset_id,

        -- numerics
        close_price_usd,
        market_cap_usd,
        total_volume_usd,

        -- booleans
        is_midnight_close,

        -- timestamps
        price_date,
        close_of_date,
        priced_at,

        -- provenance
        _batch_id,
        _row_id

    from current_versions

)

select * from final
