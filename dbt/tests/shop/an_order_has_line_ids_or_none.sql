-- The lines of an order either all have an id or none has: a line that was delivered without an id, and again with one, counts
-- twice.
{{ config(severity='warn') }}

select
    order_id,
    count(line_id) as lines_with_id_count,
    count(*) as line_count,
    min(_batch_id) as first_batch_id,
    max(_batch_id) as last_batch_id
from {{ ref('int_shop__order_line_versions') }}
where is_current
group by order_id
having count(line_id) not in (0, count(*))
