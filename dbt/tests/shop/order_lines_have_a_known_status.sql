-- The seed line_statuses has each status. Lines with another one are no sales until somebody adds a row for it.
{{ config(severity='warn') }}

select
    line_status,
    count(*) as line_count,
    sum(line_value_usd) as line_value_usd,
    min(order_id) as example_order_id
from {{ ref('fct_order_lines') }}
where counts_as = 'unmapped'
group by line_status
