{{ config(
    materialized='incremental',
    unique_key='course_id',
    indexes=[
        {'columns': ['course_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_courses as (

    select * from {{ ref('stg_courses__courses') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_courses', 'course_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
