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

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_products', 'product_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
