-- Each asset and day with a close in staging has exactly one row in fct_asset_prices_daily.

with

staged_days as (

    select distinct
        asset_id,
        close_of_date
    from {{ ref('stg_market__coin_price_history') }}
    where is_close

),

priced_days as (

    select
        asset_id,
        close_of_date
    from {{ ref('fct_asset_prices_daily') }}

)

select
    coalesce(staged_days.asset_id, priced_days.asset_id) as asset_id,
    coalesce(staged_days.close_of_date, priced_days.close_of_date) as close_of_date,
    staged_days.asset_id is not null as is_staged,
    priced_days.asset_id is not null as is_there
from staged_days
full outer join priced_days
    on
        staged_days.asset_id = priced_days.asset_id
        and staged_days.close_of_date = priced_days.close_of_date
where
    staged_days.asset_id is null
    or priced_days.asset_id is null
