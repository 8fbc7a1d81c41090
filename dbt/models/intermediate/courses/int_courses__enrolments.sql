{{ config(
    materialized='incremental',
    unique_key='enrolment_id',
    indexes=[
        {'columns': ['enrolment_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_enrolments as (

    select * from {{ ref('stg_courses__enrolments') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by enrolment_id order by _batch_id desc, _row_id desc) as version_rank
    from new_enrolments

),

current_versions as (

    select
        -- ids
        enrolment_id,
        user_id,
        course_id,

        -- text
        enrolment_status,

        -- timestamps
        enrolled_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
