{{ config(
    materialized='incremental',
    unique_key='performance_id',
    indexes=[
        {'columns': ['performance_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_performances as (

    select * from {{ ref('stg_kulisse__performances') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_performances', 'performance_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
