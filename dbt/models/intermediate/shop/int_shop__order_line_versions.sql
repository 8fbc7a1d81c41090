{{ config(
    materialized='incremental',
    unique_key=['order_id', 'line_key'],
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['order_id', 'line_key']},
        {'columns': ['order_date']},
        {'columns': ['is_current']},
        {'columns': ['_batch_id']},
        {'columns': ['superseded_by_batch_id']},
    ],
) }}

with

-- Lines of one file with the same key are lines of their own, unless one repeats another exactly: then the last of them counts. A
-- batch is always taken in as a whole, so its rows alone say which of them are repeated.
new_lines as (

    select
        order_id,
        customer_id,
        product_id,
        line_id,
        line_key,
        line_status,
        quantity,
        unit_price_usd,
        discount_usd,
        is_return,
        lead(_row_id) over (
            partition by order_id, line_key, _batch_id, line_content
            order by _row_id
        ) is not null as is_repeated,
        order_date,
        _batch_id,
        _row_id
    from {{ ref('stg_shop__orders') }}
    where _batch_id > {{ watermark() }}

),

-- A later batch supersedes all lines with the key, so all of their versions are rewritten.
all_versions as (

    select * from new_lines

    {% if is_incremental() %}

    union all

    select
        order_id,
        customer_id,
        product_id,
        line_id,
        line_key,
        line_status,
        quantity,
        unit_price_usd,
        discount_usd,
        is_return,
        is_repeated,
        order_date,
        _batch_id,
        _row_id
    from {{ this }}
    where
        (order_id, line_key) in (
            select
                new_lines.order_id,
                new_lines.line_key
            from new_lines
        )

    {% endif %}

),

ranked as (

    select
        *,
        case
            when is_repeated then _batch_id
            else
                min(_batch_id) over (
                    partition by order_id, line_key
                    order by _batch_id range between 1 following and unbounded following
                )
        end as superseded_by_batch_id
    from all_versions

),

final as (

    select
        -- ids
        order_id,
        customer_id,
        product_id,
        line_id,

        -- text
        line_key,
        line_status,

        -- numerics
        quantity,
        unit_price_usd,
        discount_usd,

        -- booleans
        is_return,
        is_repeated,
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
