-- No later merge of an id takes it from the customer that absorbed it before. Where one does, the latest merge wins; if the
-- source means that all of them are one customer, a merge is missing. `explain_customer` names both merges.
{{ config(severity='warn') }}

select * from {{ ref('int_identity__undone_merges') }}
