{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['customer_id_count']},
        {'columns': ['has_ignored_merge']},
        {'columns': ['_batch_id']},
        {'columns': ['_merges_batch_id']},
    ],
    post_hook='delete from {{ this }} where customer_id_count = 0',
) }}

with

canonical_customers as (

    select * from {{ ref('int_identity__canonical_customers') }}

),

{% if is_incremental() %}

-- Customers seen in new page views, and everyone in a group that may have changed: whom it is named after now, and whom it
-- was named after then. A merge that is no longer ignored can split a group: the part has a name that is not here yet.
affected_customers as (

    select new_sightings.canonical_customer_id as customer_id
    from {{ ref('int_identity__canonical_customers') }} as new_sightings
    where new_sightings._batch_id > {{ watermark() }}

    union

    {{ customers_touched_since(ref('int_identity__canonical_customers'), watermark('_merges_batch_id')) }}

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

affected_customers as (

    select distinct canonical_customers.canonical_customer_id as customer_id
    from canonical_customers

),

{% endif %}

-- A customer that was absorbed comes out with a count of 0: the row replaces the old one, and the hook deletes it.
final as (

    select
        -- ids
        affected_customers.customer_id,

        -- numerics
        count(canonical_customers.customer_id) as customer_id_count,

        -- booleans
        coalesce({{ dbt.bool_or('canonical_customers.has_ignored_merge') }}, false) as has_ignored_merge,

        -- timestamps
        max(canonical_customers.absorbed_at) as last_absorbed_at,

        -- provenance
        max(canonical_customers._batch_id) as _batch_id,
        max(canonical_customers._merges_batch_id) as _merges_batch_id

    from affected_customers
    left join canonical_customers
        on affected_customers.customer_id = canonical_customers.canonical_customer_id
    group by affected_customers.customer_id

)

select * from final
