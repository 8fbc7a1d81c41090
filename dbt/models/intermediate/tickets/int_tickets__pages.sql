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

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by page_id order by _batch_id desc, _row_id desc) as version_rank
    from new_pages

),

current_versions as (

    select
        -- ids
        page_id,
        account_id,
        customer_id,
        event_id,
        showtime_id,

        -- text
        page_type,

        -- timestamps
        viewed_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
