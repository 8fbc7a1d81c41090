-- Rebuilt in full: a user, an enrolment or a seed may change any course.
with

courses as (

    select * from {{ ref('dim_course') }}

),

users as (

    select * from {{ ref('dim_learner') }}

),

enrolments as (

    select * from {{ ref('fct_enrolments') }}

),

statuses as (

    select * from {{ ref('dim_enrolment_status') }}

),

events as (

    select * from {{ ref('fct_course_events') }}

),

event_types as (

    select * from {{ ref('dim_course_event_type') }}

),

-- Repeated enrolments make a user a learner of the course only once, so that their events are counted once.
learners as (

    select distinct
        enrolments.course_id,
        enrolments.user_id
    from enrolments
    inner join users
        on enrolments.user_id = users.user_id
    inner join statuses
        on enrolments.enrolment_status = statuses.enrolment_status
    where
        statuses.is_enrolled
        and users.is_delivered
        and not users.is_deleted

),

learner_counts as (

    select
        course_id,
        count(*) as learners
    from learners
    group by course_id

),

-- One event that is dated years ahead must not become a course's last activity: activity ends with the newest delivery.
dated_events as (

    select
        *,
        case
            when cast(occurred_at as date) <= {{ newest_delivery_date('courses') }} then occurred_at
        end as plausibly_occurred_at
    from events

),

activities as (

    select
        learners.course_id,
        count(distinct case when event_types.is_engagement then learners.user_id end) as active_learners,
        count(case when event_types.event_group = 'quiz' and event_types.is_completion then 1 end)
            as total_quizzes_completed,
        count(case when event_types.event_group = 'video' and event_types.is_completion then 1 end)
            as total_videos_completed,
        count(*) as total_events,
        count(distinct events.session_id) as session_count,
        min(events.plausibly_occurred_at) as first_activity,
        max(events.plausibly_occurred_at) as last_activity
    from learners
    inner join dated_events as events
        on
            learners.course_id = events.course_id
            and learners.user_id = events.user_id
    inner join event_types
        on events.event_type = event_types.event_type
    group by learners.course_id

),

final as (

    select
        -- ids
        courses.course_id,

        -- text
        courses.course_title,
        courses.category_name,

        -- numerics
        coalesce(learner_counts.learners, 0) as learners,
        coalesce(activities.active_learners, 0) as active_learners,
        {{ ratio('coalesce(activities.active_learners, 0)', 'learner_counts.learners', 4) }} as engagement_rate,
        coalesce(activities.total_quizzes_completed, 0) as total_quizzes_completed,
        coalesce(activities.total_videos_completed, 0) as total_videos_completed,
        coalesce(activities.total_events, 0) as total_events,
        coalesce(activities.session_count, 0) as session_count,

        -- timestamps
        activities.first_activity,
        activities.last_activity

    from courses
    left join learner_counts
        on courses.course_id = learner_counts.course_id
    left join activities
        on courses.course_id = activities.course_id

)

select * from final
