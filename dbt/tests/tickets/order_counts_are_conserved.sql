-- Each staged order is counted exactly once in fct_orders and exactly once in fct_weekly_sales.

with

counts as (

    select
        (select count(distinct order_id) from {{ ref('stg_tickets__orders') }}) as staged_count,
        (select count(*) from {{ ref('fct_orders') }}) as orders_count,
        (select coalesce(sum(order_count), 0) from {{ ref('fct_weekly_sales') }}) as weekly_count

)

select * from counts
where
    staged_count <> orders_count
    or orders_count <> weekly_count
