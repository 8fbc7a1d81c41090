{{ config(
    materialized='incremental',
    unique_key='enrolment_id',
    indexes=[{'columns': ['course_id', 'user_id']}],
) }}

with

enrolments as (

    select * from {{ ref('int_courses__enrolments') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        enrolment_id,
        user_id,
        course_id,

        -- text
        -- A status that can't be read is still a status, so it must not pass for one that was not stated.
        coalesce(enrolment_status, 'unmapped') as enrolment_status,

        -- timestamps
        enrolled_at,

        -- provenance
        _batch_id,
        _row_id

    from enrolments

)

select * from final
