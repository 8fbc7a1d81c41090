{{ config(
    materialized='incremental',
    unique_key='course_event_id',
    indexes=[
        {'columns': ['course_id', 'user_id']},
        {'columns': ['event_type']},
    ],
) }}

with

events as (

    select * from {{ ref('int_courses__events') }}
    where _batch_id > {{ watermark() }}

),

final as (

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

    from events

)

select * from final
