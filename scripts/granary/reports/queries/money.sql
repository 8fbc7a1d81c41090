-- A total starts at zero, each other step where the one before it ended; `end_usd` is where its bar ends.
select
    feed, measure, measure_title, step_number, step_name, step_title, is_total, amount_usd, difference_usd,
    row_count, rows_without_amount_count,
    sum(amount_usd) over (partition by feed, measure, total_count order by step_number) as end_usd,
    bool_and(coalesce(difference_usd, 0) = 0) over (partition by feed, measure) as is_reconciled
from (
    select *, count(*) filter (where is_total) over (partition by feed, measure order by step_number) as total_count
    from {marts}.money_reconciliation
) as steps
order by feed, measure, step_number
