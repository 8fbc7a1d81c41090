-- Each asset and date with a close in staging has exactly one row in fct_asset_prices_daily, unless it is a price before midnight
-- and that midnight has one, too.

with

staged_days as (

    select
        asset_id,
        price_date,
        max(case when is_midnight then 1 else 0 end) = 1 as has_midnight
    from {{ ref('stg_market__coin_price_history') }}
    where is_close
    group by
        asset_id,
        price_date

),

expected_days as (

    select
        staged_days.asset_id,
        staged_days.price_date
    from staged_days
    left join staged_days as next_days
        on
            staged_days.asset_id = next_days.asset_id
            and {{ days_from('staged_days.price_date', 'next_days.price_date') }} = 1
            and next_days.has_midnight
    where
        staged_days.has_midnight
        or next_days.asset_id is null

),

priced_days as (

    select
        asset_id,
        price_date
    from {{ ref('fct_asset_prices_daily') }}

)

select
    coalesce(expected_days.asset_id, priced_days.asset_id) as asset_id,
    coalesce(expected_days.price_date, priced_days.price_date) as price_date,
    expected_days.asset_id is not null as is_expected,
    priced_days.asset_id is not null as is_there
from expected_days
full outer join priced_days
    on
        expected_days.asset_id = priced_days.asset_id
        and expected_days.price_date = priced_days.price_date
where
    expected_days.asset_id is null
    or priced_days.asset_id is null
