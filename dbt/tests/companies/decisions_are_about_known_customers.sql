-- A decision about a customer who has not been delivered changes nothing: its id may be misspelled.
{{ config(severity='warn') }}

select decisions.*
from {{ ref('customer_link_decisions') }} as decisions
left join {{ ref('customer_links') }} as links
    on
        decisions.tickets_account_id = links.tickets_account_id
        and decisions.kulisse_customer_id = links.kulisse_customer_id
where
    links.link_state is null
    -- Not while one of the companies has no customers yet.
    and exists (select 1 from {{ ref('dim_account') }})
    and exists (select 1 from {{ ref('int_kulisse__customers') }})
