{{ config(materialized='view') }}

with

orders as (

    select
        orders.order_id,
        coalesce(orders.customer_id, 'unknown') as customer_id,
        orders.ordered_at,
        orders.currency,
        orders.total_amount,
        orders.refunded_amount,
        -- A status and an amount that contradict each other don't say what was sold.
        case
            when statuses.counts_as is null then 'unmapped'
            when statuses.counts_as = 'partly_refunded' and coalesce(orders.refunded_amount, 0) = 0 then 'unclear'
            when
                statuses.counts_as = 'refunded' and coalesce(orders.refunded_amount, 0) not in (0, orders.total_amount)
                then 'unclear'
            else statuses.counts_as
        end as counts_as,
        orders._batch_id,
        orders._row_id
    from {{ ref('int_kulisse__orders') }} as orders
    left join {{ ref('order_statuses') }} as statuses
        on orders.order_status = statuses.order_status

),

items as (

    select * from {{ ref('int_kulisse__order_items') }}

),

itemised as (

    select
        order_id,
        sum(amount) as amount
    from items
    group by order_id

),

lines as (

    -- An item whose order has not been delivered has no currency: XXX is the code of ISO 4217 for that.
    select
        items.order_id,
        items.item_id as line_id,
        'item' as line_type,
        coalesce(orders.customer_id, 'unknown') as customer_id,
        items.performance_id,
        orders.ordered_at,
        coalesce(orders.currency, 'XXX') as currency,
        coalesce(orders.counts_as, 'unmapped') as counts_as,
        items.amount,
        items._batch_id,
        items._row_id
    from items
    left join orders
        on items.order_id = orders.order_id

    union all

    -- So that the lines of an order add up to what was paid, also before its items are delivered.
    select
        orders.order_id,
        'remainder' as line_id,
        'remainder' as line_type,
        orders.customer_id,
        cast(null as {{ dbt.type_string() }}) as performance_id,
        orders.ordered_at,
        orders.currency,
        orders.counts_as,
        orders.total_amount - coalesce(itemised.amount, 0) as amount,
        orders._batch_id,
        orders._row_id
    from orders
    left join itemised
        on orders.order_id = itemised.order_id
    where orders.total_amount <> coalesce(itemised.amount, 0)

    union all

    -- A line of its own, because nobody says which items were given back. Its day is that of the order, for the same reason.
    select
        orders.order_id,
        'refund' as line_id,
        'refund' as line_type,
        orders.customer_id,
        cast(null as {{ dbt.type_string() }}) as performance_id,
        orders.ordered_at,
        orders.currency,
        orders.counts_as,
        -case when orders.counts_as = 'refunded' then orders.total_amount else orders.refunded_amount end as amount,
        orders._batch_id,
        orders._row_id
    from orders
    where
        orders.counts_as in ('sold', 'refunded', 'partly_refunded')
        and case when orders.counts_as = 'refunded' then orders.total_amount else orders.refunded_amount end > 0

),

final as (

    select
        -- ids
        order_id,
        line_id,
        customer_id,
        performance_id,

        -- text
        line_type,
        counts_as,
        currency,

        -- numerics
        cast(case when counts_as in ('sold', 'refunded', 'partly_refunded') then amount else 0 end as numeric(20, 4)) as amount,
        cast(
            case when counts_as in ('sold', 'refunded', 'partly_refunded') then 0 else amount end as numeric(20, 4)
        ) as uncounted_amount,

        -- timestamps
        ordered_at as booked_at,

        -- provenance
        _batch_id,
        _row_id

    from lines

)

select * from final
