-- Each customer id ever seen belongs to exactly one customer.

with

counts as (

    select
        (select count(*) from {{ ref('int_identity__canonical_customers') }}) as customer_id_count,
        (select coalesce(sum(customer_id_count), 0) from {{ ref('dim_customer') }}) as counted_id_count

)

select * from counts
where customer_id_count <> counted_id_count
