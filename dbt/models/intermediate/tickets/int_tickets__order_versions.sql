{{ config(
    materialized='incremental',
    unique_key='order_id',
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['order_id']},
        {'columns': ['showtime_id']},
        {'columns': ['is_current']},
        {'columns': ['_batch_id']},
        {'columns': ['superseded_by_batch_id']},
    ],
) }}

with

new_orders as (

    select * from {{ ref('stg_tickets__orders') }}
    where _batch_id > {{ watermark() }}

),

-- A new version supersedes the one before it, so all versions of a delivered order are rewritten.
all_versions as (

    select
        order_id,
        account_id,
        showtime_id,
        order_total_usd,
        ordered_at,
        _batch_id,
        _row_id
    from new_orders

    {% if is_incremental() %}

    union all

    select
        order_id,
        account_id,
        showtime_id,
        order_total_usd,
        ordered_at,
        _batch_id,
        _row_id
    from {{ this }}
    where order_id in (select new_orders.order_id from new_orders)

    {% endif %}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so there are no ties.
ranked as (

    select
        *,
        lead(_batch_id) over (partition by order_id order by _batch_id, _row_id) as superseded_by_batch_id
    from all_versions

),

final as (

    select
        -- ids
        order_id,
        account_id,
        showtime_id,

        -- numerics
        order_total_usd,

        -- booleans
        superseded_by_batch_id is null as is_current,

        -- timestamps
        ordered_at,
        cast(date_trunc('week', ordered_at) as date) as sales_week,

        -- provenance
        superseded_by_batch_id,
        _batch_id,
        _row_id

    from ranked

)

select * from final
