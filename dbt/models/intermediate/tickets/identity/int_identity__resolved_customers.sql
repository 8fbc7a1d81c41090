{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['canonical_customer_id']},
        {'columns': ['has_ignored_merge']},
        {'columns': ['_changed_batch_id']},
    ],
    post_hook='{{ analyze() }}',
) }}

-- Each doubling moves every pointer twice as far: after 24 doublings, a pointer is 16 million merges further.
{% set doublings = 24 %}

with recursive

{% if is_incremental() %}

-- All customers whose pointer may have changed, and all customers to whom they point now or pointed before.
changed_customers as (

    {{ changed_customers(ref('int_identity__latest_merges')) }}

),

-- All members of their previous groups. Pointers hold a group together, so every member of a new group either was in one of these
-- groups before or has a changed pointer: the groups to resolve again consist of these customers only.
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

{% if target.type == 'spark' %}

{{ spark_resolved_pointers() }}

{% else %}

-- Walks down from the customers that have not been absorbed. Each merge is followed once, so the cost is linear at any depth. (It
-- reads the table directly, because a CTE that is used more than once is materialized without an index, and each step would scan
-- all of it.)
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

-- Customers that no walk reached lead into a cycle; usually there are hardly any. Within a cycle no two merges have the same
-- target, so time and target alone determine the order of their numbers.
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

-- Pointer doubling: in the end every pointer is on its cycle, and each customer on a cycle has gone all the way round it and
-- found its latest merge. There is one row per customer even without the grouping, which only keeps the planner's estimate from
-- growing with each join.
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
-- The target of the cycle's latest merge survives.
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

{% endif %}

-- A change to one member of a group counts as a change to all of them.
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
    -- The survivor's own merge is the one that is dropped to break the cycle.
    left join pointers
        on
            resolved.customer_id = pointers.customer_id
            and resolved.customer_id <> resolved.canonical_customer_id

)

select * from final
