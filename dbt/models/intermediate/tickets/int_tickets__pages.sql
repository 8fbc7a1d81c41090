{{ config(
    materialized='incremental',
    unique_key='page_id',
    indexes=[
        {'columns': ['page_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_pages as (

    select * from {{ ref('stg_tickets__pages') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_pages', 'page_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
