-- Of each feed, a row with its sums (its batch_id is null), then its batches. No row got lost where `adds_up`.
select
    audit.feed, audit.batch_id, max(audit.entity) as entity, max(audit.file_path) as file_path,
    max(audit.status) as status, max(audit.error) as error, max(audit.replaced_by_batch_id) as replaced_by_batch_id,
    count(*) as batch_count,
    sum(audit.rows_read_count) as read_count, sum(audit.lines_rejected_count) as lines_rejected_count,
    sum(audit.rows_loaded_count) as loaded_count, sum(audit.rows_rejected_count) as rows_rejected_count,
    sum(audit.rows_staged_count) as staged_count, sum(usage.rows_superseded_count) as superseded_count,
    sum(usage.rows_current_count) as current_count,
    bool_and(
        audit.rows_read_count = audit.rows_loaded_count + audit.lines_rejected_count
        and audit.rows_loaded_count = audit.rows_staged_count + audit.rows_rejected_count
        and coalesce(audit.rows_staged_count = usage.rows_current_count + usage.rows_superseded_count, true)
    ) as adds_up
from {marts}.load_audit as audit
left join {usage} as usage on usage.batch_id = audit.batch_id
group by grouping sets ((audit.feed, audit.batch_id), (audit.feed))
order by audit.feed, audit.batch_id nulls first
