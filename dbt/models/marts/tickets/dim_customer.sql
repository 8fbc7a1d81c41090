{{ config(
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['customer_id_count']},
        {'columns': ['_batch_id']},
    ],
    post_hook='delete from {{ this }} where customer_id_count = 0',
) }}

-- depends_on: {{ ref('int_identity__resolved_customers') }}

with

canonical_customers as (

    select * from {{ ref('int_identity__canonical_customers') }}

),

{% if is_incremental() %}

resolved_customers as (

    select * from {{ ref('int_identity__resolved_customers') }}

),

-- Customers seen in new page views, and every customer that a merge ever named: their groups may have changed.
affected_customers as (

    select new_sightings.canonical_customer_id as customer_id
    from {{ ref('int_identity__canonical_customers') }} as new_sightings
    where new_sightings._batch_id > {{ watermark() }}

    union

    select resolved_customers.customer_id
    from resolved_customers

),

{% else %}

affected_customers as (

    select distinct canonical_customers.canonical_customer_id as customer_id
    from canonical_customers

),

{% endif %}

-- A customer that was absorbed comes out with a count of 0: the row replaces the old one, and the hook deletes it.
counted as (

    select
        -- ids
        affected_customers.customer_id,

        -- numerics
        count(canonical_customers.customer_id) as customer_id_count,

        -- timestamps
        max(canonical_customers.absorbed_at) as last_absorbed_at,

        -- provenance
        max(canonical_customers._batch_id) as _batch_id

    from affected_customers
    left join canonical_customers
        on affected_customers.customer_id = canonical_customers.canonical_customer_id
    group by affected_customers.customer_id

),

-- Nearly all of them are as they were: only what differs is written.
final as (

    select counted.*
    from counted
    {% if is_incremental() %}
    left join {{ this }} as known
        on counted.customer_id = known.customer_id
    where
        counted.customer_id_count <> coalesce(known.customer_id_count, 0)
        or counted.last_absorbed_at is distinct from known.last_absorbed_at
        or counted._batch_id is distinct from known._batch_id
    {% endif %}

)

select * from final
