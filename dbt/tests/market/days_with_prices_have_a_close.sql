-- Each day with prices has a close, or else its prices are used nowhere. An asset's last day isn't over, so it may have none yet.
{{ config(severity='warn') }}

with

days as (

    select
        asset_id,
        price_date,
        count(*) as price_count,
        max(priced_at) as last_priced_at,
        max(case when is_close then 1 else 0 end) = 1 as has_close
    from {{ ref('stg_market__coin_price_history') }}
    where not is_dated_after_delivery
    group by
        asset_id,
        price_date

),

compared as (

    select
        *,
        lead(price_date) over (partition by asset_id order by price_date) as next_price_date
    from days

)

select * from compared
where
    not has_close
    and next_price_date is not null
