-- Rebuilt in full: there are few courses, and an enrolment or an event may name one before it is delivered itself.
with

courses as (

    select * from {{ ref('int_courses__courses') }}

),

course_ids as (

    select course_id from courses
    union
    select course_id from {{ ref('fct_enrolments') }}
    union
    select course_id from {{ ref('fct_course_events') }}

),

final as (

    select
        -- ids
        course_ids.course_id,

        -- text
        courses.course_title,
        courses.category_name,
        courses.course_level,
        courses.publisher,

        -- booleans
        courses.course_id is not null as is_delivered,

        -- timestamps
        courses.course_created_at,

        -- provenance
        courses._batch_id,
        courses._row_id

    from course_ids
    left join courses
        on course_ids.course_id = courses.course_id

)

select * from final
