-- Each asset and day with a close in staging has exactly one row in fct_asset_prices_daily.

with

counts as (

    select
        (
            select count(*) from (
                select distinct
                    asset_id,
                    price_date
                from {{ ref('stg_market__coin_price_history') }}
                where is_close
            ) as staged_days
        ) as staged_count,
        (select count(*) from {{ ref('fct_asset_prices_daily') }}) as priced_count

)

select * from counts
where staged_count <> priced_count
