{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id_count']},
        {'columns': ['has_ignored_merge']},
    ],
    post_hook="{{ delete_rows('customer_id_count = 0') }}",
) }}

with

canonical_customers as (

    select * from {{ ref('int_identity__canonical_customers') }}

),

{% if is_incremental() %}

-- New customers, and the current and previous canonical customers of groups that may have changed. A merge that is no longer
-- ignored can split a group: the canonical customer of the new part is not in this table yet.
changed_customers as (

    {{ changed_customers(ref('int_identity__canonical_customers')) }}

    union

    select parts.canonical_customer_id as customer_id
    from {{ ref('int_identity__canonical_customers') }} as parts
    left join {{ this }} as known
        on parts.canonical_customer_id = known.customer_id
    where
        known.customer_id is null
        and exists (
            select 1 from {{ this }} as overridden
            where overridden.has_ignored_merge
        )

),

{% else %}

changed_customers as (

    select distinct canonical_customers.canonical_customer_id as customer_id
    from canonical_customers

),

{% endif %}

-- An absorbed customer gets a count of 0: this row replaces the old one, and the hook deletes it.
final as (

    select
        -- ids
        changed_customers.customer_id,

        -- numerics
        count(canonical_customers.customer_id) as customer_id_count,

        -- booleans
        coalesce({{ dbt.bool_or('canonical_customers.has_ignored_merge') }}, false) as has_ignored_merge,

        -- timestamps
        max(canonical_customers.absorbed_at) as last_absorbed_at

    from changed_customers
    left join canonical_customers
        on changed_customers.customer_id = canonical_customers.canonical_customer_id
    group by changed_customers.customer_id

)

select * from final
