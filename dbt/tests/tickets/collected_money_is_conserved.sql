-- Every transaction counts towards its order and its week, unless its order has not been delivered.

with

transactions as (

    select * from {{ ref('fct_transactions') }}

),

orders as (

    select * from {{ ref('fct_orders') }}

),

without_order as (

    select transactions.amount_usd
    from transactions
    left join orders
        on transactions.order_id = orders.order_id
    where orders.order_id is null

),

sums as (

    select
        (select coalesce(sum(amount_usd), 0) from transactions) as transactions_usd,
        (select coalesce(sum(amount_usd), 0) from without_order) as without_order_usd,
        (select coalesce(sum(collected_usd), 0) from orders) as orders_usd,
        (select coalesce(sum(collected_usd), 0) from {{ ref('fct_weekly_sales') }}) as weekly_usd

)

select * from sums
where
    transactions_usd <> orders_usd + without_order_usd
    or orders_usd <> weekly_usd
