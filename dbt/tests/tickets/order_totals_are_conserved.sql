-- The sum of order totals is the same, to the cent, in the current versions of staging, in fct_orders and in fct_weekly_sales.

with

ranked as (

    select
        order_total_usd,
        row_number() over (partition by order_id order by _batch_id desc, _row_id desc) as version_rank
    from {{ ref('stg_tickets__orders') }}

),

current_versions as (

    select order_total_usd from ranked
    where version_rank = 1

),

sums as (

    select
        (select coalesce(sum(order_total_usd), 0) from current_versions) as staged_usd,
        (select coalesce(sum(order_total_usd), 0) from {{ ref('fct_orders') }}) as orders_usd,
        (select coalesce(sum(gross_sales_usd), 0) from {{ ref('fct_weekly_sales') }}) as weekly_usd

)

select * from sums
where
    staged_usd <> orders_usd
    or orders_usd <> weekly_usd
