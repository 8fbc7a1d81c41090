-- Rebuilt in full, beside the incremental models: it only reports, and no model of customers reads it.
with

delivered_merges as (

    select * from {{ ref('int_tickets__identity_merges') }}

),

overrides as (

    select * from {{ ref('identity_overrides') }}

),

latest_merges as (

    select * from {{ ref('int_identity__latest_merges') }}

),

customers as (

    select * from {{ ref('int_identity__resolved_customers') }}

),

-- A merge that still applies holds its two customers together, and so may one that was replaced: if the two are apart, a later
-- merge has taken one from the other.
separating as (

    select
        delivered_merges.*,
        absorbed.canonical_customer_id,
        absorbing.canonical_customer_id as separated_customer_id
    from delivered_merges
    inner join customers as absorbed
        on delivered_merges.from_customer_id = absorbed.customer_id
    inner join customers as absorbing
        on delivered_merges.to_customer_id = absorbing.customer_id
    left join overrides
        on
            delivered_merges.from_customer_id = overrides.from_customer_id
            and delivered_merges.to_customer_id = overrides.to_customer_id
    where
        absorbed.canonical_customer_id <> absorbing.canonical_customer_id
        and overrides.from_customer_id is null

),

-- A merge that was delivered again is still one merge.
undone as (

    {{ dbt_utils.deduplicate(
        'separating', 'from_customer_id, to_customer_id', 'merged_at desc, _batch_id desc, _row_id desc'
    ) }}

),

final as (

    select
        -- ids
        undone.from_customer_id,
        undone.to_customer_id,
        latest_merges.absorbed_by_customer_id as undone_by_customer_id,
        undone.canonical_customer_id,
        undone.separated_customer_id,

        -- timestamps
        undone.merged_at,
        latest_merges.absorbed_at as undone_at,

        -- provenance
        undone._batch_id,
        undone._row_id,
        latest_merges.merge_batch_id as undone_batch_id,
        latest_merges.merge_row_id as undone_row_id

    from undone
    inner join latest_merges
        on undone.from_customer_id = latest_merges.customer_id

)

select * from final
