{{ config(
    materialized='incremental',
    unique_key=['order_id', 'product_id', 'is_return'],
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['order_id', 'product_id', 'is_return']},
        {'columns': ['order_date']},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_lines as (

    select
        order_id,
        customer_id,
        product_id,
        line_status,
        quantity,
        unit_price_usd,
        discount_usd,
        is_return,
        order_date,
        _batch_id,
        _row_id
    from {{ ref('stg_shop__orders') }}
    where _batch_id > {{ watermark() }}

),

-- An order has one line per product sold and one per product returned. A new version supersedes the one before it, so all
-- versions of a delivered line are rewritten.
all_versions as (

    select * from new_lines

    {% if is_incremental() %}

    union all

    select
        order_id,
        customer_id,
        product_id,
        line_status,
        quantity,
        unit_price_usd,
        discount_usd,
        is_return,
        order_date,
        _batch_id,
        _row_id
    from {{ this }}
    where
        (order_id, product_id, is_return) in (
            select
                new_lines.order_id,
                new_lines.product_id,
                new_lines.is_return
            from new_lines
        )

    {% endif %}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so there are no ties.
ranked as (

    select
        *,
        lead(_batch_id) over (
            partition by order_id, product_id, is_return
            order by _batch_id, _row_id
        ) as superseded_by_batch_id
    from all_versions

),

final as (

    select
        -- ids
        order_id,
        customer_id,
        product_id,

        -- text
        line_status,

        -- numerics
        quantity,
        unit_price_usd,
        discount_usd,

        -- booleans
        is_return,
        superseded_by_batch_id is null as is_current,

        -- timestamps
        order_date,

        -- provenance
        superseded_by_batch_id,
        _batch_id,
        _row_id

    from ranked

)

select * from final
