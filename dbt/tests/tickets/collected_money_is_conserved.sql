-- Every transaction counts towards its order and its week, unless its order has not been delivered.

with

-- Transactions that are new, or may have stopped waiting for their order, beside that order. An order that is delivered stays.
with_orders as (

    select
        flagged.is_order_delivered,
        orders.order_id is not null as is_order_there
    from {{ ref('fct_transactions') }} as flagged
    left join {{ ref('fct_orders') }} as orders
        on flagged.order_id = orders.order_id
    where
        flagged._batch_id > {{ tested_batch() }}
        or not flagged.is_order_delivered

),

transactions as (

    select
        coalesce(sum(amount_usd), 0) as transactions_usd,
        coalesce(sum(case when not is_order_delivered then amount_usd end), 0) as without_order_usd
    from {{ ref('fct_transactions') }}

),

sums as (

    select
        (select count(case when is_order_delivered <> is_order_there then 1 end) from with_orders) as wrong_count,
        (select transactions_usd from transactions) as transactions_usd,
        (select without_order_usd from transactions) as without_order_usd,
        (select coalesce(sum(collected_usd), 0) from {{ ref('fct_orders') }}) as orders_usd,
        (select coalesce(sum(collected_usd), 0) from {{ ref('fct_weekly_sales') }}) as weekly_usd

)

select * from sums
where
    wrong_count > 0
    or transactions_usd <> orders_usd + without_order_usd
    or orders_usd <> weekly_usd
