{{ config(
    materialized='incremental',
    unique_key='venue_id',
    indexes=[
        {'columns': ['venue_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_venues as (

    select * from {{ ref('stg_kulisse__venues') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row. Stored rows are older than any new row.
current_versions as (

    {{ dbt_utils.deduplicate('new_venues', 'venue_id', '_batch_id desc, _row_id desc') }}

)

select * from current_versions
