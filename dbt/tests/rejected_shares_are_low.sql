-- No batch was rejected to a larger share than its source takes for normal.
{{ config(severity='warn') }}

select
    batch_id,
    finding
from {{ ref('rejected_shares') }}
where verdict = 'warn'
