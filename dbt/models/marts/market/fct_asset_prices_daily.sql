{{ config(
    materialized='incremental',
    unique_key=['asset_id', 'close_of_date'],
    indexes=[{'columns': ['price_date']}],
) }}

with

daily_prices as (

    select
        *,
        row_number() over (partition by asset_id order by close_of_date) as day_number
    from {{ ref('int_market__daily_prices') }}
    {% if is_incremental() %}
    where
        asset_id in (
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
    from daily_prices
    where _batch_id > {{ watermark() }}
    group by asset_id

),

{% endif %}

prices as (

    select daily_prices.*
    from daily_prices
    {% if is_incremental() %}
    -- The volatility of a day needs 30 returns, and therefore the 30 closes before it.
    inner join first_changes
        on
            daily_prices.asset_id = first_changes.asset_id
            and daily_prices.day_number >= first_changes.day_number - 30
    {% endif %}

),

compared as (

    select
        *,
        {{ days_from('lag(close_of_date) over (partition by asset_id order by close_of_date)', 'close_of_date') }}
            as days_since_previous_close,
        100 * {{ ratio('close_price_usd', 'lag(close_price_usd) over (partition by asset_id order by close_of_date)', 8) }} - 100
            as change_since_previous_close_pct
    from prices

),

returns as (

    select
        *,
        case when days_since_previous_close = 1 then change_since_previous_close_pct end as daily_return_pct
    from compared

),

-- Six daily returns in a row mean seven closes without a gap.
averages as (

    select
        *,
        case when count(daily_return_pct) over six_days = 6 then {{ average('close_price_usd', 18, 'seven_days') }} end
            as sma_7d_close,
        case when count(daily_return_pct) over thirty_days = 30 then stddev_samp(daily_return_pct) over thirty_days end
            as volatility_30d_pct,
        max(_batch_id) over what_it_depends_on as changed_batch_id
    from returns
    window
        six_days as (partition by asset_id order by close_of_date rows between 5 preceding and current row),
        seven_days as (partition by asset_id order by close_of_date rows between 6 preceding and current row),
        thirty_days as (partition by asset_id order by close_of_date rows between 29 preceding and current row),
        what_it_depends_on as (partition by asset_id order by close_of_date rows between 30 preceding and current row)

),

final as (

    select
        -- ids
        asset_id,

        -- numerics
        close_price_usd,
        cast(round(market_cap_usd, 2) as numeric(38, 2)) as market_cap_usd,
        cast(round(total_volume_usd, 2) as numeric(38, 2)) as total_volume_usd,
        cast(days_since_previous_close as bigint) as days_since_previous_close,
        cast(change_since_previous_close_pct as numeric(38, 6)) as change_since_previous_close_pct,
        cast(daily_return_pct as numeric(38, 6)) as daily_return_pct,
        cast(sma_7d_close as numeric(38, 18)) as sma_7d_close,
        cast(round(volatility_30d_pct, 6) as numeric(38, 6)) as volatility_30d_pct,

        -- booleans
        is_midnight_close,

        -- timestamps
        price_date,
        close_of_date,

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
