-- Each day with prices has a close in the mart, or else its prices are used nowhere. That of an asset's last day may be yet to
-- come.
{{ config(severity='warn') }}

with

days as (

    select
        asset_id,
        close_of_date,
        count(*) as price_count,
        max(priced_at) as last_priced_at,
        lead(close_of_date) over (partition by asset_id order by close_of_date) as next_date
    from {{ ref('stg_market__coin_price_history') }}
    where not is_dated_after_delivery
    group by
        asset_id,
        close_of_date

)

select days.*
from days
left join {{ ref('fct_asset_prices_daily') }} as closes
    on
        days.asset_id = closes.asset_id
        and days.close_of_date = closes.close_of_date
where
    closes.asset_id is null
    and days.next_date is not null
