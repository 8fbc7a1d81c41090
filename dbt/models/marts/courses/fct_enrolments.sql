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
        enrolment_status,

        -- booleans
        -- An enrolment without a known status counts as not cancelled.
        coalesce(enrolment_status = 'cancelled', false) as is_cancelled,

        -- timestamps
        enrolled_at,

        -- provenance
        _batch_id,
        _row_id

    from enrolments

)

select * from final
