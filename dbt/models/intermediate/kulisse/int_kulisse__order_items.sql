{{ config(
    materialized='incremental',
    unique_key='item_id',
    indexes=[
        {'columns': ['item_id'], 'unique': true},
        {'columns': ['order_id']},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_order_items as (

    select * from {{ ref('stg_kulisse__order_items') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_order_items', 'item_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
