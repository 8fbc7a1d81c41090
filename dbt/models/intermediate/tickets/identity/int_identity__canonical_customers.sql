{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['canonical_customer_id']},
        {'columns': ['has_ignored_merge']},
        {'columns': ['_changed_batch_id']},
    ],
) }}

with

sightings as (

    select
        customer_id,
        min(_batch_id) as _batch_id
    from {{ ref('stg_tickets__pages') }}
    where
        customer_id is not null
        and _batch_id > {{ watermark() }}
    group by customer_id

),

resolved as (

    select * from {{ ref('int_identity__resolved_customers') }}

),

{% if is_incremental() %}

-- Merges and overrides can change the customer to whom an id belongs without a new page view.
changed_customers as (

    select customer_id from sightings

    union

    {{ changed_customers(ref('int_identity__resolved_customers')) }}

),

first_sightings as (

    select
        changed_customers.customer_id,
        coalesce(known._batch_id, sightings._batch_id) as _batch_id
    from changed_customers
    left join sightings
        on changed_customers.customer_id = sightings.customer_id
    left join {{ this }} as known
        on changed_customers.customer_id = known.customer_id

),

{% else %}

first_sightings as (

    select
        coalesce(sightings.customer_id, resolved.customer_id) as customer_id,
        sightings._batch_id
    from sightings
    full outer join resolved
        on sightings.customer_id = resolved.customer_id

),

{% endif %}

final as (

    select
        -- ids
        first_sightings.customer_id,
        coalesce(resolved.canonical_customer_id, first_sightings.customer_id) as canonical_customer_id,
        resolved.absorbed_by_customer_id,

        -- booleans
        coalesce(resolved.has_ignored_merge, false) as has_ignored_merge,

        -- timestamps
        resolved.absorbed_at,

        -- provenance
        resolved.merge_batch_id,
        resolved.merge_row_id,
        first_sightings._batch_id,
        greatest(first_sightings._batch_id, resolved._changed_batch_id) as _changed_batch_id

    from first_sightings
    left join resolved
        on first_sightings.customer_id = resolved.customer_id

)

select * from final
