-- The sum of order totals is the same, to the cent, in the current versions of staging, in fct_orders and in fct_weekly_sales.

with

ranked as (

    select
        order_total_usd,
        row_number() over (partition by order_id order by _batch_id desc, _row_id desc) as version_rank
    from {{ ref('stg_tickets__orders') }}
    where _batch_id > {{ tested_batch() }}

),

current_versions as (

    select order_total_usd from ranked
    where version_rank = 1

),

-- The latest batch with an order wins, so the current versions of new orders are new as well.
orders as (

    select
        coalesce(sum(order_total_usd), 0) as orders_usd,
        coalesce(sum(case when _batch_id > {{ tested_batch() }} then order_total_usd end), 0) as new_orders_usd
    from {{ ref('fct_orders') }}

),

sums as (

    select
        (select coalesce(sum(order_total_usd), 0) from current_versions) as staged_usd,
        (select new_orders_usd from orders) as new_orders_usd,
        (select orders_usd from orders) as orders_usd,
        (select coalesce(sum(gross_sales_usd), 0) from {{ ref('fct_weekly_sales') }}) as weekly_usd

)

select * from sums
where
    staged_usd <> new_orders_usd
    or orders_usd <> weekly_usd
