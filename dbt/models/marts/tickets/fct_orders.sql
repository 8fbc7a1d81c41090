{{ config(
    materialized='incremental',
    unique_key='order_id',
    indexes=[
        {'columns': ['order_id'], 'unique': true},
        {'columns': ['sales_week', 'event_id']},
        {'columns': ['account_id']},
        {'columns': ['_batch_id']},
        {'columns': ['_showtime_batch_id']},
        {'columns': ['_transactions_batch_id']},
    ],
) }}

with

order_versions as (

    select * from {{ ref('int_tickets__order_versions') }}

),

showtime_versions as (

    select * from {{ ref('int_tickets__showtime_versions') }}

),

transaction_versions as (

    select * from {{ ref('int_tickets__transaction_versions') }}

),

{% if is_incremental() %}

affected_orders as (

    {{ orders_touched_since(
        watermark('_batch_id'), watermark('_showtime_batch_id'), watermark('_transactions_batch_id')
    ) }}

),

{% endif %}

current_orders as (

    select order_versions.*
    from order_versions
    {% if is_incremental() %}
    inner join affected_orders
        on order_versions.order_id = affected_orders.order_id
    {% endif %}
    where order_versions.is_current

),

current_showtimes as (

    select * from showtime_versions
    where is_current

),

transactions_by_order as (

    select
        transaction_versions.order_id,
        sum(transaction_versions.amount_usd) as collected_usd,
        max(transaction_versions._batch_id) as _transactions_batch_id
    from transaction_versions
    {% if is_incremental() %}
    inner join affected_orders
        on transaction_versions.order_id = affected_orders.order_id
    {% endif %}
    where transaction_versions.is_current
    group by transaction_versions.order_id

),

final as (

    select
        -- ids
        current_orders.order_id,
        current_orders.account_id,
        current_orders.showtime_id,
        -- An order whose event is not known stays, so that totals are conserved.
        coalesce(current_showtimes.event_id, 'unknown') as event_id,

        -- numerics
        current_orders.order_total_usd,
        cast(coalesce(transactions_by_order.collected_usd, 0) as numeric(38, 2)) as collected_usd,

        -- timestamps
        current_orders.ordered_at,
        current_orders.sales_week,

        -- provenance
        current_orders._batch_id,
        current_orders._row_id,
        current_showtimes._batch_id as _showtime_batch_id,
        transactions_by_order._transactions_batch_id

    from current_orders
    left join current_showtimes
        on current_orders.showtime_id = current_showtimes.showtime_id
    left join transactions_by_order
        on current_orders.order_id = transactions_by_order.order_id

)

select * from final
