select
    count(*) filter (where status = 'loaded') as batch_count,
    count(*) filter (where status = 'failed') as failed_count,
    count(*) filter (where status = 'replaced') as replaced_count,
    coalesce(sum(rows_read_count) filter (where status = 'loaded'), 0) as read_count,
    coalesce(sum(rows_staged_count) filter (where status = 'loaded'), 0) as used_count,
    coalesce(sum(lines_rejected_count + rows_rejected_count) filter (where status = 'loaded'), 0)
        as rejected_count
from {marts}.load_audit
