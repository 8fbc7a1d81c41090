-- Every canonical customer is its own canonical customer, so every chain of merges is followed to its end.

with

customers as (

    select * from {{ ref('int_identity__canonical_customers') }}

)

select
    customers.customer_id,
    customers.canonical_customer_id,
    canonical.canonical_customer_id as canonical_of_canonical_customer_id
from customers
left join customers as canonical
    on customers.canonical_customer_id = canonical.customer_id
where
    canonical.customer_id is null
    or canonical.canonical_customer_id <> canonical.customer_id
