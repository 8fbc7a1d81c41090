select *
from (
    select build_id, command, selection, status, is_full_refresh, models_built_count, tests_passed_count,
        tests_warned_count, tests_failed_count, error_count, started_at, finished_at,
        tests_passed_count + tests_warned_count + tests_failed_count + error_count as tests,
        round(extract(epoch from finished_at - started_at), 1) as seconds
    from {marts}.build_log
    where schema_prefix = %s
    order by finished_at desc, build_id
    limit %s
) as latest
order by finished_at, build_id
