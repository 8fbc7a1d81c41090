-- Each staged event is in fct_course_events exactly once, and course_engagement counts each event of a learner exactly once.

with

learner_events as (

    select delivered.course_event_id
    from {{ ref('fct_course_events') }} as delivered
    where
        exists (
            select 1
            from {{ ref('fct_enrolments') }} as enrolments
            inner join {{ ref('dim_learner') }} as learners
                on enrolments.user_id = learners.user_id
            inner join {{ ref('dim_enrolment_status') }} as statuses
                on enrolments.enrolment_status = statuses.enrolment_status
            where
                enrolments.course_id = delivered.course_id
                and enrolments.user_id = delivered.user_id
                and statuses.is_enrolled
                and not learners.is_deleted
        )

),

counts as (

    select
        (select count(distinct course_event_id) from {{ ref('stg_courses__events') }}) as staged_count,
        (select count(*) from {{ ref('fct_course_events') }}) as events_count,
        (select count(*) from learner_events) as learner_events_count,
        (select coalesce(sum(total_events), 0) from {{ ref('course_engagement') }}) as counted_events_count

)

select * from counts
where
    staged_count <> events_count
    or learner_events_count <> counted_events_count
