{#-
    Ids of the orders that batches after a watermark touch, one row per order, whether the batch brought the order itself,
    its showtime, or a transaction that it gained or lost. Each input has a watermark of its own: see watermark().

    orders_watermark, showtimes_watermark, transactions_watermark: batches that were taken in already
-#}
{% macro orders_touched_since(orders_watermark, showtimes_watermark, transactions_watermark) %}
    select order_id
    from {{ ref('int_tickets__order_versions') }}
    where _batch_id > {{ orders_watermark }}

    union

    -- Late or moved showtimes. Orders that have left a showtime are delivered again themselves.
    select orders.order_id
    from {{ ref('int_tickets__showtime_versions') }} as showtimes
    inner join {{ ref('int_tickets__order_versions') }} as orders
        on showtimes.showtime_id = orders.showtime_id
    where
        showtimes._batch_id > {{ showtimes_watermark }}
        and orders.is_current

    union

    -- All versions of a transaction: a correction may have taken it from one order and given it to another.
    select versions.order_id
    from {{ ref('int_tickets__transaction_versions') }} as changed
    inner join {{ ref('int_tickets__transaction_versions') }} as versions
        on changed.transaction_id = versions.transaction_id
    where changed._batch_id > {{ transactions_watermark }}
{% endmacro %}
