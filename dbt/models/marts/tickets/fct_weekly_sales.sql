{{ config(
    materialized='incremental',
    unique_key=['sales_week', 'event_id'],
    indexes=[{'columns': ['event_id']}],
    post_hook="{{ delete_rows('order_count = 0') }}",
) }}

-- depends_on: {{ ref('int_tickets__order_versions') }}
-- depends_on: {{ ref('int_tickets__showtime_versions') }}

-- The joins reference the table of orders directly rather than a CTE, so that they can use its indexes.
with

{% if is_incremental() %}

changed_versions as (

    select
        versions.sales_week,
        versions.showtime_id
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_tickets__order_versions') }} as versions
        on orders.order_id = versions.order_id
    where orders._changed_batch_id > {{ watermark() }}

),

-- All rows under which a changed order may ever have been counted: each week of any of its versions, with each event to which its
-- showtimes ever belonged and with the unknown event, which it had while its showtime was not known.
changed_weeks as (

    select
        changed_versions.sales_week,
        showtimes.event_id
    from changed_versions
    inner join {{ ref('int_tickets__showtime_versions') }} as showtimes
        on changed_versions.showtime_id = showtimes.showtime_id

    union

    select
        sales_week,
        'unknown' as event_id
    from changed_versions

),

{% else %}

changed_weeks as (

    select distinct
        sales_week,
        event_id
    from {{ ref('fct_orders') }}

),

{% endif %}

-- A week that lost its last order gets a count of 0: this row replaces the old one, and the hook deletes it.
final as (

    select
        -- ids
        changed_weeks.sales_week,
        changed_weeks.event_id,

        -- numerics
        count(orders.order_id) as order_count,
        count(distinct orders.account_id) as buyer_count,
        cast(coalesce(sum(orders.order_total_usd), 0) as numeric(38, 2)) as gross_sales_usd,
        cast(coalesce(sum(orders.collected_usd), 0) as numeric(38, 2)) as collected_usd,
        cast(
            coalesce({{ ratio('sum(orders.order_total_usd)', 'count(orders.order_id)', 2) }}, 0) as numeric(38, 2)
        ) as average_order_usd

    from changed_weeks
    left join {{ ref('fct_orders') }} as orders
        on
            changed_weeks.sales_week = orders.sales_week
            and changed_weeks.event_id = orders.event_id
    group by
        changed_weeks.sales_week,
        changed_weeks.event_id

)

select * from final
