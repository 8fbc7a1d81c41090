{{ config(
    materialized='incremental',
    unique_key='order_id',
    indexes=[
        {'columns': ['order_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_orders as (

    select * from {{ ref('stg_kulisse__orders') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_orders', 'order_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
