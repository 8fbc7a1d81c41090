{{ config(
    materialized='incremental',
    unique_key='course_event_id',
    indexes=[
        {'columns': ['course_event_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_events as (

    select * from {{ ref('stg_courses__events') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by course_event_id order by _batch_id desc, _row_id desc) as version_rank
    from new_events

),

current_versions as (

    select
        -- ids
        course_event_id,
        user_id,
        course_id,
        session_id,

        -- text
        event_type,
        metadata,
        content_kind,

        -- numerics
        content_number,

        -- timestamps
        occurred_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
