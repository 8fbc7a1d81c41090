-- Rebuilt in full, as the merges that it follows: see int_identity__latest_merges.
{{ config(
    materialized='table',
    indexes=[{'columns': ['customer_id'], 'unique': true}],
    post_hook='analyze {{ this }}',
) }}

-- Each doubling sends every pointer twice as far: after 24 of them, 16 million merges further.
{% set doublings = 24 %}

-- The two walks name int_identity__latest_merges directly, because an import CTE that is used more than once is
-- materialized and has no index: each step would read all merges.
with recursive

-- Overridden merges and self-merges count here as well: their customers exist, and a merge that is overridden later must
-- find them again.
merged_customers as (

    select from_customer_id as customer_id from {{ ref('int_tickets__identity_merges') }}
    union
    select to_customer_id as customer_id from {{ ref('int_tickets__identity_merges') }}

),

-- Walks down from the customers that nobody absorbed. Each merge is followed once, so the walk is linear at any depth.
trees as (

    select
        merged_customers.customer_id,
        merged_customers.customer_id as canonical_customer_id
    from merged_customers
    left join {{ ref('int_identity__latest_merges') }} as latest
        on merged_customers.customer_id = latest.from_customer_id
    where latest.from_customer_id is null

    union all

    select
        latest.from_customer_id as customer_id,
        trees.canonical_customer_id
    from trees
    inner join {{ ref('int_identity__latest_merges') }} as latest
        on trees.customer_id = latest.to_customer_id

),

-- What no walk reached leads into a cycle. As a rule there is next to nothing here.
hops_0 as (

    select
        latest.from_customer_id as customer_id,
        latest.to_customer_id as reached_customer_id,
        latest.merge_number as latest_merge_number
    from {{ ref('int_identity__latest_merges') }} as latest
    left join trees
        on latest.from_customer_id = trees.customer_id
    where trees.customer_id is null

),

-- Pointer doubling: in the end every pointer stands on its cycle, and whoever is on a cycle has gone all round it and knows
-- its latest merge. There is one row per customer anyway: grouping keeps the planner's estimate from growing with each join.
{% for doubling in range(1, doublings + 1) %}
hops_{{ doubling }} as (

    select
        near.customer_id,
        max(far.reached_customer_id) as reached_customer_id,
        max(greatest(near.latest_merge_number, far.latest_merge_number)) as latest_merge_number
    from hops_{{ doubling - 1 }} as near
    inner join hops_{{ doubling - 1 }} as far
        on near.reached_customer_id = far.customer_id
    group by near.customer_id

),
{% endfor %}
-- The customer that the cycle's latest merge points to survives.
cycles as (

    select
        hops.customer_id,
        latest.to_customer_id as canonical_customer_id
    from hops_{{ doublings }} as hops
    inner join hops_{{ doublings }} as on_cycle
        on hops.reached_customer_id = on_cycle.customer_id
    inner join {{ ref('int_identity__latest_merges') }} as latest
        on on_cycle.latest_merge_number = latest.merge_number

),

resolved as (

    select
        customer_id,
        canonical_customer_id
    from trees

    union all

    select
        customer_id,
        canonical_customer_id
    from cycles

),

final as (

    select
        -- ids
        resolved.customer_id,
        resolved.canonical_customer_id,
        latest.to_customer_id as absorbed_by_customer_id,

        -- timestamps
        latest.merged_at as absorbed_at,

        -- provenance
        latest._batch_id as merge_batch_id,
        latest._row_id as merge_row_id

    from resolved
    -- A survivor's own merge is the one that its cycle does without.
    left join {{ ref('int_identity__latest_merges') }} as latest
        on
            resolved.customer_id = latest.from_customer_id
            and resolved.customer_id <> resolved.canonical_customer_id

)

select * from final
