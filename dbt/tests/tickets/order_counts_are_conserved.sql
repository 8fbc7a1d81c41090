-- Each staged order is counted exactly once in fct_orders and exactly once in fct_weekly_sales.

with

-- The latest batch with an order wins, so the current versions of new orders are new as well.
orders as (

    select
        count(*) as orders_count,
        count(case when _batch_id > {{ tested_batch() }} then 1 end) as new_orders_count
    from {{ ref('fct_orders') }}

),

counts as (

    select
        (
            select count(distinct order_id) from {{ ref('stg_tickets__orders') }}
            where _batch_id > {{ tested_batch() }}
        ) as staged_count,
        (select new_orders_count from orders) as new_orders_count,
        (select orders_count from orders) as orders_count,
        (select coalesce(sum(order_count), 0) from {{ ref('fct_weekly_sales') }}) as weekly_count

)

select * from counts
where
    staged_count <> new_orders_count
    or orders_count <> weekly_count
