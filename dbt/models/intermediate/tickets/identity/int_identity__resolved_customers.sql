{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['canonical_customer_id']},
        {'columns': ['has_ignored_merge']},
        {'columns': ['_changed_batch_id']},
    ],
    post_hook='analyze {{ this }}',
) }}

-- Each doubling sends every pointer twice as far: after 24 of them, 16 million merges further.
{% set doublings = 24 %}

with recursive

{% if is_incremental() %}

-- Everyone who may point to somebody else than before, and everyone whom they point to now or pointed to then.
changed_customers as (

    {{ changed_customers(ref('int_identity__latest_merges')) }}

),

-- All that was connected with them. A group is what pointers connect, so whoever is in a group with them now either was so
-- before or has a pointer that changed: the groups to resolve again lie wholly among these.
connected as (

    select changed_customers.customer_id
    from changed_customers

    union

    select members.customer_id
    from changed_customers
    inner join {{ this }} as known
        on changed_customers.customer_id = known.customer_id
    inner join {{ this }} as members
        on known.canonical_customer_id = members.canonical_customer_id

),

{% endif %}

pointers as (

    select latest.*
    from {{ ref('int_identity__latest_merges') }} as latest
    {% if is_incremental() %}
    inner join connected
        on latest.customer_id = connected.customer_id
    {% endif %}

),

-- Walks down from the customers that nobody absorbed. Each merge is followed once, so the walk is linear at any depth. (It
-- names the table, because a CTE that is used more than once is materialized and has no index: each step would read it all.)
trees as (

    select
        pointers.customer_id,
        pointers.customer_id as canonical_customer_id
    from pointers
    where pointers.absorbed_by_customer_id is null

    union all

    select
        latest.customer_id,
        trees.canonical_customer_id
    from trees
    inner join {{ ref('int_identity__latest_merges') }} as latest
        on trees.customer_id = latest.absorbed_by_customer_id

),

-- What no walk reached leads into a cycle. As a rule there is next to nothing here. Within a cycle no two merges have the
-- same target, so there the order of the numbers is that of time and target alone.
looping as (

    select
        pointers.customer_id,
        pointers.absorbed_by_customer_id,
        row_number() over (
            order by
                pointers.absorbed_at,
                {{ binary_order('pointers.absorbed_by_customer_id') }},
                {{ binary_order('pointers.customer_id') }}
        ) as merge_number
    from pointers
    left join trees
        on pointers.customer_id = trees.customer_id
    where trees.customer_id is null

),

hops_0 as (

    select
        customer_id,
        absorbed_by_customer_id as reached_customer_id,
        merge_number as latest_merge_number
    from looping

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
        looping.absorbed_by_customer_id as canonical_customer_id
    from hops_{{ doublings }} as hops
    inner join hops_{{ doublings }} as on_cycle
        on hops.reached_customer_id = on_cycle.customer_id
    inner join looping
        on on_cycle.latest_merge_number = looping.merge_number

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

-- What happened to one member of a group matters to all of them.
groups as (

    select
        resolved.canonical_customer_id,
        {{ dbt.bool_or('pointers.has_ignored_merge') }} as has_ignored_merge,
        max(pointers._changed_batch_id) as _changed_batch_id
    from resolved
    inner join pointers
        on resolved.customer_id = pointers.customer_id
    group by resolved.canonical_customer_id

),

final as (

    select
        -- ids
        resolved.customer_id,
        resolved.canonical_customer_id,
        pointers.absorbed_by_customer_id,

        -- booleans
        groups.has_ignored_merge,

        -- timestamps
        pointers.absorbed_at,

        -- provenance
        pointers.merge_batch_id,
        pointers.merge_row_id,
        groups._changed_batch_id

    from resolved
    inner join groups
        on resolved.canonical_customer_id = groups.canonical_customer_id
    -- A survivor's own merge is the one that its cycle does without.
    left join pointers
        on
            resolved.customer_id = pointers.customer_id
            and resolved.customer_id <> resolved.canonical_customer_id

)

select * from final
