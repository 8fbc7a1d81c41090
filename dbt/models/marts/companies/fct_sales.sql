{{ config(
    materialized='incremental',
    unique_key=['company', 'order_id'],
    indexes=[
        {'columns': ['company', 'customer_id']},
        {'columns': ['booked_on']},
    ],
    post_hook="{{ delete_rows('_batch_id = 0') }}",
) }}

-- New rates, and statuses that somebody maps, change lines of any age.
-- depends_on: {{ ref('fx_rates') }}
-- depends_on: {{ ref('order_statuses') }}
-- depends_on: {{ ref('int_kulisse__orders') }}
-- depends_on: {{ ref('int_kulisse__order_items') }}

with

{% if is_incremental() %}

changed_orders as (

    select
        'tickets' as company,
        order_id
    from {{ ref('fct_orders') }}
    where _changed_batch_id > {{ watermark(restarts_with_seeds=true) }}

    union

    -- Money can go back for an order that has not been delivered.
    select
        'tickets' as company,
        order_id
    from {{ ref('fct_transactions') }}
    where
        not is_order_delivered
        and amount_usd < 0
        and _batch_id > {{ watermark(restarts_with_seeds=true) }}

    union

    select
        'kulisse' as company,
        order_id
    from {{ ref('int_kulisse__orders') }}
    where _batch_id > {{ watermark(restarts_with_seeds=true) }}

    union

    select
        'kulisse' as company,
        order_id
    from {{ ref('int_kulisse__order_items') }}
    where _batch_id > {{ watermark(restarts_with_seeds=true) }}

    union

    -- The order that an item has left, or a transaction.
    select
        known.company,
        known.order_id
    from {{ this }} as known
    inner join {{ ref('int_kulisse__order_items') }} as items
        on known.line_id = items.item_id
    where
        known.company = 'kulisse'
        and items._batch_id > {{ watermark(restarts_with_seeds=true) }}

    union

    select
        known.company,
        known.order_id
    from {{ this }} as known
    inner join {{ ref('fct_transactions') }} as payments
        on known.line_id = payments.transaction_id
    where
        known.company = 'tickets'
        and payments._batch_id > {{ watermark(restarts_with_seeds=true) }}

),

{% else %}

changed_orders as (

    select
        'tickets' as company,
        order_id
    from {{ ref('fct_orders') }}

    union

    select
        'tickets' as company,
        order_id
    from {{ ref('fct_transactions') }}
    where
        not is_order_delivered
        and amount_usd < 0

    union

    select
        'kulisse' as company,
        order_id
    from {{ ref('int_kulisse__sale_lines') }}

),

{% endif %}

lines as (

    -- tickets sells whole orders: each is a line, and so is each transaction by which money goes back. It counts once its order
    -- has been delivered.
    select
        'tickets' as company,
        orders.order_id,
        'order' as line_id,
        'order' as line_type,
        orders.account_id as customer_id,
        orders.showtime_id as performance_id,
        'sold' as counts_as,
        'USD' as currency,
        cast(orders.order_total_usd as numeric(20, 4)) as amount,
        cast(0 as numeric(20, 4)) as uncounted_amount,
        orders.ordered_at as booked_at,
        orders._batch_id,
        orders._row_id
    from changed_orders
    inner join {{ ref('fct_orders') }} as orders
        on changed_orders.order_id = orders.order_id
    where changed_orders.company = 'tickets'

    union all

    select
        'tickets' as company,
        payments.order_id,
        payments.transaction_id as line_id,
        'refund' as line_type,
        coalesce(orders.account_id, 'unknown') as customer_id,
        orders.showtime_id as performance_id,
        case when orders.order_id is null then 'unmapped' else 'sold' end as counts_as,
        'USD' as currency,
        cast(case when orders.order_id is null then 0 else payments.amount_usd end as numeric(20, 4)) as amount,
        cast(case when orders.order_id is null then payments.amount_usd else 0 end as numeric(20, 4)) as uncounted_amount,
        payments.occurred_at as booked_at,
        payments._batch_id,
        payments._row_id
    from changed_orders
    inner join {{ ref('fct_transactions') }} as payments
        on changed_orders.order_id = payments.order_id
    left join {{ ref('fct_orders') }} as orders
        on changed_orders.order_id = orders.order_id
    where
        changed_orders.company = 'tickets'
        and payments.amount_usd < 0

    union all

    select
        'kulisse' as company,
        sale_lines.order_id,
        sale_lines.line_id,
        sale_lines.line_type,
        sale_lines.customer_id,
        sale_lines.performance_id,
        sale_lines.counts_as,
        sale_lines.currency,
        sale_lines.amount,
        sale_lines.uncounted_amount,
        sale_lines.booked_at,
        sale_lines._batch_id,
        sale_lines._row_id
    from changed_orders
    inner join {{ ref('int_kulisse__sale_lines') }} as sale_lines
        on changed_orders.order_id = sale_lines.order_id
    where changed_orders.company = 'kulisse'

),

-- An order that has lost its last line gets one of no batch: it replaces the old ones, and the hook deletes it.
changed_lines as (

    select
        changed_orders.company,
        changed_orders.order_id,
        coalesce(lines.line_id, 'none') as line_id,
        coalesce(lines.line_type, 'none') as line_type,
        coalesce(lines.customer_id, 'unknown') as customer_id,
        lines.performance_id,
        coalesce(lines.counts_as, 'unmapped') as counts_as,
        coalesce(lines.currency, 'XXX') as currency,
        coalesce(lines.amount, 0) as amount,
        coalesce(lines.uncounted_amount, 0) as uncounted_amount,
        lines.booked_at,
        cast(lines.booked_at as date) as booked_on,
        coalesce(lines._batch_id, 0) as _batch_id,
        coalesce(lines._row_id, 0) as _row_id
    from changed_orders
    left join lines
        on
            changed_orders.company = lines.company
            and changed_orders.order_id = lines.order_id

),

final as (

    select
        -- ids
        changed_lines.company,
        changed_lines.order_id,
        changed_lines.line_id,
        changed_lines.customer_id,
        changed_lines.performance_id,

        -- text
        changed_lines.line_type,
        changed_lines.counts_as,
        changed_lines.currency,

        -- numerics
        cast(changed_lines.amount as numeric(20, 4)) as amount,
        {{ in_usd('changed_lines.amount') }} as amount_usd,
        {{ unconverted('changed_lines.amount') }} as unconverted_amount,
        cast(changed_lines.uncounted_amount as numeric(20, 4)) as uncounted_amount,

        -- timestamps
        changed_lines.booked_at,
        changed_lines.booked_on,

        -- provenance
        changed_lines._batch_id,
        changed_lines._row_id

    from changed_lines
    {{ join_fx_rates('changed_lines.currency', 'changed_lines.booked_on') }}

)

select * from final
