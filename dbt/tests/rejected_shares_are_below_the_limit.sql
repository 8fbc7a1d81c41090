-- No batch was rejected to a larger share than its source allows, and none in full.
{{ config(severity='error') }}

select
    batch_id,
    finding
from {{ ref('rejected_shares') }}
where verdict = 'fail'
