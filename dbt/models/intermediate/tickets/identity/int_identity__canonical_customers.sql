{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['canonical_customer_id']},
        {'columns': ['has_ignored_merge']},
        {'columns': ['_merges_batch_id']},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_sightings as (

    select
        customer_id,
        max(_batch_id) as _batch_id
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

-- Merges and overrides change who a customer is without a new page view.
affected as (

    select new_sightings.customer_id
    from new_sightings

    union

    {{ customers_touched_since(ref('int_identity__resolved_customers'), watermark('_merges_batch_id')) }}

),

sightings as (

    select
        affected.customer_id,
        coalesce(new_sightings._batch_id, known._batch_id) as _batch_id
    from affected
    left join new_sightings
        on affected.customer_id = new_sightings.customer_id
    left join {{ this }} as known
        on affected.customer_id = known.customer_id

),

{% else %}

sightings as (

    select
        coalesce(new_sightings.customer_id, resolved.customer_id) as customer_id,
        new_sightings._batch_id
    from new_sightings
    full outer join resolved
        on new_sightings.customer_id = resolved.customer_id

),

{% endif %}

final as (

    select
        -- ids
        sightings.customer_id,
        coalesce(resolved.canonical_customer_id, sightings.customer_id) as canonical_customer_id,
        resolved.absorbed_by_customer_id,

        -- booleans
        coalesce(resolved.has_ignored_merge, false) as has_ignored_merge,

        -- timestamps
        resolved.absorbed_at,

        -- provenance
        resolved.merge_batch_id,
        resolved.merge_row_id,
        resolved._merges_batch_id,
        sightings._batch_id

    from sightings
    left join resolved
        on sightings.customer_id = resolved.customer_id

)

select * from final
