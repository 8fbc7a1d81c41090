{{ config(
    materialized='incremental',
    unique_key=['asset_id', 'price_date'],
    indexes=[{'columns': ['price_date']}],
) }}

with

numbered as (

    select
        daily_prices.*,
        row_number() over (partition by daily_prices.asset_id order by daily_prices.price_date) as day_number
    from {{ ref('int_market__daily_prices') }} as daily_prices
    {% if is_incremental() %}
    where
        daily_prices.asset_id in (
            select changed.asset_id from {{ ref('int_market__daily_prices') }} as changed
            where changed._batch_id > {{ watermark() }}
        )
    {% endif %}

),

{% if is_incremental() %}

first_changes as (

    select
        asset_id,
        min(day_number) as day_number
    from numbered
    where _batch_id > {{ watermark() }}
    group by asset_id

),

{% endif %}

prices as (

    select numbered.*
    from numbered
    {% if is_incremental() %}
    -- The volatility of a day needs 30 returns, and therefore the 30 closes before it.
    inner join first_changes
        on
            numbered.asset_id = first_changes.asset_id
            and numbered.day_number >= first_changes.day_number - 30
    {% endif %}

),

returns as (

    select
        *,
        100 * {{ ratio('close_price_usd', 'lag(close_price_usd) over (partition by asset_id order by price_date)', 8) }} - 100
            as daily_return_pct
    from prices

),

-- Windows count days with a close, so a gap does not shorten them.
averages as (

    select
        *,
        case when count(*) over seven_days = 7 then avg(close_price_usd) over seven_days end as sma_7d_close,
        case when count(daily_return_pct) over thirty_days = 30 then stddev_samp(daily_return_pct) over thirty_days end
            as volatility_30d_pct,
        max(_batch_id) over what_it_depends_on as changed_batch_id
    from returns
    window
        seven_days as (partition by asset_id order by price_date rows between 6 preceding and current row),
        thirty_days as (partition by asset_id order by price_date rows between 29 preceding and current row),
        what_it_depends_on as (partition by asset_id order by price_date rows between 30 preceding and current row)

),

final as (

    select
        -- ids
        asset_id,

        -- numerics
        close_price_usd,
        cast(round(market_cap_usd, 2) as numeric(38, 2)) as market_cap_usd,
        cast(round(total_volume_usd, 2) as numeric(38, 2)) as total_volume_usd,
        cast(daily_return_pct as numeric(38, 6)) as daily_return_pct,
        cast(round(sma_7d_close, 18) as numeric(38, 18)) as sma_7d_close,
        cast(round(volatility_30d_pct, 6) as numeric(38, 6)) as volatility_30d_pct,

        -- timestamps
        price_date,

        -- provenance
        _batch_id,
        _row_id

    from averages
    {% if is_incremental() %}
    -- Only the days for which a close in their window is new.
    where changed_batch_id > {{ watermark() }}
    {% endif %}

)

select * from final
