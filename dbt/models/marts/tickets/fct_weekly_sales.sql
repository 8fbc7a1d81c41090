{{ config(
    materialized='incremental',
    unique_key=['sales_week', 'event_id'],
    indexes=[
        {'columns': ['sales_week', 'event_id'], 'unique': true},
        {'columns': ['event_id']},
    ],
    post_hook='delete from {{ this }} where order_count = 0',
) }}

-- depends_on: {{ ref('int_tickets__order_versions') }}
-- depends_on: {{ ref('int_tickets__showtime_versions') }}
-- depends_on: {{ ref('int_tickets__transaction_versions') }}

with

orders as (

    select * from {{ ref('fct_orders') }}

),

{% if is_incremental() %}

order_versions as (

    select * from {{ ref('int_tickets__order_versions') }}

),

showtime_versions as (

    select * from {{ ref('int_tickets__showtime_versions') }}

),

affected_orders as (

    {{ orders_touched_since(
        watermark('_batch_id'), watermark('_showtimes_batch_id'), watermark('_transactions_batch_id')
    ) }}

),

affected_versions as (

    select
        order_versions.sales_week,
        order_versions.showtime_id
    from affected_orders
    inner join order_versions
        on affected_orders.order_id = order_versions.order_id

),

-- Wherever an affected order may ever have been counted: in each week that one of its versions names, under each event that
-- its showtimes ever belonged to, and under the unknown event, where it was counted while its showtime was not known.
affected_weeks as (

    select
        affected_versions.sales_week,
        showtime_versions.event_id
    from affected_versions
    inner join showtime_versions
        on affected_versions.showtime_id = showtime_versions.showtime_id

    union

    select
        affected_versions.sales_week,
        'unknown' as event_id
    from affected_versions

),

{% else %}

affected_weeks as (

    select distinct
        orders.sales_week,
        orders.event_id
    from orders

),

{% endif %}

-- A week that lost its last order comes out with a count of 0: the row replaces the old one, and the hook deletes it.
final as (

    select
        -- ids
        affected_weeks.sales_week,
        affected_weeks.event_id,

        -- numerics
        count(orders.order_id) as order_count,
        count(distinct orders.account_id) as buyer_count,
        cast(coalesce(sum(orders.order_total_usd), 0) as numeric(38, 2)) as gross_sales_usd,
        cast(coalesce(sum(orders.collected_usd), 0) as numeric(38, 2)) as collected_usd,
        cast(round(
            cast(coalesce(sum(orders.order_total_usd), 0) as numeric(38, 10))
            / cast(greatest(count(orders.order_id), 1) as numeric(38, 10)),
            2
        ) as numeric(38, 2)) as average_order_usd,

        -- provenance
        max(orders._batch_id) as _batch_id,
        max(orders._showtime_batch_id) as _showtimes_batch_id,
        max(orders._transactions_batch_id) as _transactions_batch_id

    from affected_weeks
    left join orders
        on
            affected_weeks.sales_week = orders.sales_week
            and affected_weeks.event_id = orders.event_id
    group by
        affected_weeks.sales_week,
        affected_weeks.event_id

)

select * from final
