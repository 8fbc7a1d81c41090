select reason, explanation, severity, reject_count, file_path, line_number, column_name, delivered_value
from (
    select *,
        count(*) over (partition by reason, explanation, severity) as reject_count,
        row_number() over (
            partition by reason, explanation, severity order by _batch_id, line_number, column_name
        ) as sample_number
    from {marts}.rejected_rows
    where state = 'open'
) as ranked
where sample_number <= %s
order by reject_count desc, reason, explanation, severity, sample_number
