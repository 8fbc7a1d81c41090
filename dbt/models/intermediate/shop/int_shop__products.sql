{{ config(
    materialized='incremental',
    unique_key='product_id',
    indexes=[
        {'columns': ['product_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_products as (

    select * from {{ ref('stg_shop__products') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by product_id order by _batch_id desc, _row_id desc) as version_rank
    from new_products

),

current_versions as (

    select
        -- ids
        product_id,

        -- text
        product_name,
        category,

        -- numerics
        unit_price_usd,
        unit_cost_usd,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
