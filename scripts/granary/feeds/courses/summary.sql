select to_regclass('course_engagement') is not null as is_built \gset

\echo 'The 5 courses with the most active learners\n'
\if :is_built
    select
        coalesce(course_title, course_id) as course,
        learners,
        active_learners as active,
        round(100 * engagement_rate, 1) as "active %",
        total_videos_completed as "videos completed",
        total_quizzes_completed as "quizzes completed"
    from course_engagement
    order by active_learners desc, learners desc, course_id
    limit 5;
\else
    \echo 'Not built yet: bin/dbt build\n'
\endif
