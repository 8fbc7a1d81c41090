-- Lines of one delivery that share their key are lines of their own. If they differ in their status alone, they are more likely
-- versions of one line, which then counts twice: a file that holds several versions of a line needs a line_id.
{{ config(severity='warn') }}

select
    order_id,
    line_key,
    quantity,
    unit_price_usd,
    _batch_id,
    count(*) as line_count
from {{ ref('fct_order_lines') }}
group by
    order_id,
    line_key,
    customer_id,
    quantity,
    unit_price_usd,
    order_date,
    _batch_id
having count(distinct line_status) > 1
