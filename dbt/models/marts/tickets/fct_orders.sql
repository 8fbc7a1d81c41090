{{ config(
    materialized='incremental',
    unique_key='order_id',
    indexes=[
        {'columns': ['sales_week', 'event_id']},
        {'columns': ['account_id']},
        {'columns': ['_changed_batch_id']},
    ],
) }}

-- The versions are not imported as CTEs: a CTE that is used more than once is materialized without an index, and each batch would
-- read all of history.
with

{% if is_incremental() %}

-- Orders that a new batch delivered, whose showtime it delivered, or that gained or lost a transaction in it.
changed_orders as (

    select new_orders.order_id
    from {{ ref('int_tickets__order_versions') }} as new_orders
    where new_orders._batch_id > {{ watermark() }}

    union

    -- The current version is enough: an order that moves to another showtime is itself delivered again.
    select order_versions.order_id
    from {{ ref('int_tickets__showtime_versions') }} as showtime_versions
    inner join {{ ref('int_tickets__order_versions') }} as order_versions
        on showtime_versions.showtime_id = order_versions.showtime_id
    where
        showtime_versions._batch_id > {{ watermark() }}
        and order_versions.is_current

    union

    -- All versions of a transaction, because a correction may have moved it from one order to another.
    select transaction_versions.order_id
    from {{ ref('int_tickets__transaction_versions') }} as changed
    inner join {{ ref('int_tickets__transaction_versions') }} as transaction_versions
        on changed.transaction_id = transaction_versions.transaction_id
    where changed._batch_id > {{ watermark() }}

),

{% endif %}

current_orders as (

    select order_versions.*
    from {{ ref('int_tickets__order_versions') }} as order_versions
    {% if is_incremental() %}
    inner join changed_orders
        on order_versions.order_id = changed_orders.order_id
    {% endif %}
    where order_versions.is_current

),

current_showtimes as (

    select * from {{ ref('int_tickets__showtime_versions') }}
    where is_current

),

transactions_by_order as (

    select
        transaction_versions.order_id,
        sum(case when transaction_versions.is_current then transaction_versions.amount_usd end) as collected_usd,
        -- The order that a transaction left has changed as well.
        max(coalesce(transaction_versions.superseded_by_batch_id, transaction_versions._batch_id)) as _changed_batch_id
    from {{ ref('int_tickets__transaction_versions') }} as transaction_versions
    {% if is_incremental() %}
    inner join changed_orders
        on transaction_versions.order_id = changed_orders.order_id
    {% endif %}
    group by transaction_versions.order_id

),

final as (

    select
        -- ids
        current_orders.order_id,
        current_orders.account_id,
        current_orders.showtime_id,
        -- Orders without a known event are kept, so that totals are conserved.
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
        greatest(
            current_orders._batch_id, current_showtimes._batch_id, transactions_by_order._changed_batch_id
        ) as _changed_batch_id

    from current_orders
    left join current_showtimes
        on current_orders.showtime_id = current_showtimes.showtime_id
    left join transactions_by_order
        on current_orders.order_id = transactions_by_order.order_id

)

select * from final
