-- The query that a stakeholder relied on, with its defects on purpose: tests/feeds/courses/test_courses.py compares it with the mart
-- course_engagement, and docs/courses.md tells where each of its parts went. It reads current versions, as the
-- application's own database has them.
select
    c.course_id,
    c.title,
    count(distinct u.id) as learners,
    count(distinct n.user_id) as total_learners,
    count(distinct case
        when e.event_type in ('video_play', 'video_pause', 'video_complete', 'quiz_start', 'quiz_submit') then u.id
    end) as active_learners,
    round(
        count(distinct case
            when e.event_type in ('video_play', 'video_pause', 'video_complete', 'quiz_start', 'quiz_submit') then u.id
        end)::numeric / count(distinct u.id), 4
    ) as engagement_rate,
    sum(case when e.event_type = 'quiz_submit' then 1 else 0 end) as total_quizzes_completed,
    sum(case when e.event_type in ('quiz_submit') then 1 else 0 end) as quizzes_completed,
    sum(case when e.event_type = 'video_complete' then 1 else 0 end) as total_videos_completed,
    count(e.id) as total_events,
    (
        select count(distinct e2.session_id)
        from legacy.events as e2, legacy.enrolments as n2, legacy.users as u2
        where e2.course_id = c.course_id and n2.course_id = c.course_id
            and n2.user_id = e2.user_id and u2.id = e2.user_id
            and not u2.deleted and n2.status is distinct from 'cancelled'
    ) as session_count,
    (
        select min(e2.event_timestamp)
        from legacy.events as e2, legacy.enrolments as n2, legacy.users as u2
        where e2.course_id = c.course_id and n2.course_id = c.course_id
            and n2.user_id = e2.user_id and u2.id = e2.user_id
            and not u2.deleted and n2.status is distinct from 'cancelled'
    ) as first_activity,
    (
        select max(e2.event_timestamp)
        from legacy.events as e2, legacy.enrolments as n2, legacy.users as u2
        where e2.course_id = c.course_id and n2.course_id = c.course_id
            and n2.user_id = e2.user_id and u2.id = e2.user_id
            and not u2.deleted and n2.status is distinct from 'cancelled'
    ) as last_activity
from legacy.users as u
inner join legacy.enrolments as n on n.user_id = u.id and n.status is distinct from 'cancelled'
inner join legacy.courses as c on c.course_id = n.course_id
left join legacy.events as e on e.user_id = n.user_id and e.course_id = n.course_id
where not u.deleted
    and u.deleted = false
    and n.status is distinct from 'cancelled'
    and (e.course_id is null or e.course_id = c.course_id)
group by c.course_id, c.title
