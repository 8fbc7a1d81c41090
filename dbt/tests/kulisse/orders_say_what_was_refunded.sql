-- An order that was refunded in part has a readable amount that was given back, and one that was refunded has all of it or none
-- there. What others were worth is in `uncounted_amount`.
{{ config(severity='warn') }}

select
    order_id,
    currency,
    sum(uncounted_amount) as uncounted_amount
from {{ ref('int_kulisse__sale_lines') }}
where counts_as = 'unclear'
group by
    order_id,
    currency
