-- Rebuilt in full, beside the incremental models. Without undone merges it has nothing to do.

{% if target.type == 'spark' %}

{{ spark_connected_customers() }}

{% else %}

-- Each round leaves at most half of the customers that are still connected with others: 24 rounds are enough for 16 million.
{% set rounds = 24 %}

with recursive

undone_merges as (

    select * from {{ ref('int_identity__undone_merges') }}

),

-- Undone merges as edges, in both directions.
pairs as (

    select
        canonical_customer_id as near_customer_id,
        separated_customer_id as far_customer_id
    from undone_merges

    union

    select
        separated_customer_id as near_customer_id,
        canonical_customer_id as far_customer_id
    from undone_merges

),

-- Numbers in an order that has nothing to do with the ids: in a chain of rising ids, rising numbers would make a walk as long as
-- the chain.
numbered as (

    select
        near_customer_id as customer_id,
        row_number() over (
            order by
                {{ binary_order(dbt.hash('near_customer_id')) }},
                {{ binary_order('near_customer_id') }}
        ) as customer_number
    from pairs
    group by near_customer_id

),

edges_1 as (

    select
        near.customer_number as near_number,
        far.customer_number as far_number
    from pairs
    inner join numbered as near
        on pairs.near_customer_id = near.customer_id
    inner join numbered as far
        on pairs.far_customer_id = far.customer_id

),

{% for round in range(1, rounds + 1) %}
-- Each customer hooks onto the lowest of its neighbours, unless it is lower itself: hooks lead to lower numbers, so they form
-- trees.
hooks_{{ round }} as (

    select
        near_number as customer_number,
        least(near_number, min(far_number)) as hooked_number
    from edges_{{ round }}
    group by near_number

),

trees_{{ round }} as (

    select
        customer_number,
        customer_number as root_number
    from hooks_{{ round }}
    where customer_number = hooked_number

    union all

    select
        hooks.customer_number,
        trees.root_number
    from trees_{{ round }} as trees
    inner join hooks_{{ round }} as hooks
        on trees.customer_number = hooks.hooked_number
    where hooks.customer_number <> hooks.hooked_number

),

-- What remains are edges between roots. The grouping also keeps the planner's estimate from growing with each round.
edges_{{ round + 1 }} as (

    select
        near.root_number as near_number,
        far.root_number as far_number
    from edges_{{ round }} as edges
    inner join trees_{{ round }} as near
        on edges.near_number = near.customer_number
    inner join trees_{{ round }} as far
        on edges.far_number = far.customer_number
    where near.root_number <> far.root_number
    group by
        near.root_number,
        far.root_number

),
{% endfor %}
-- A customer is hooked in one round at most, so the hooks of all rounds are trees as well: one per group.
hooks as (

    {% for round in range(1, rounds + 1) %}
    select
        customer_number,
        hooked_number
    from hooks_{{ round }}
    where customer_number <> hooked_number
    {% if not loop.last %}union all{% endif %}
    {% endfor %}

),

groups as (

    select
        hooks.hooked_number as customer_number,
        hooks.hooked_number as root_number
    from hooks
    left join hooks as own
        on hooks.hooked_number = own.customer_number
    where own.customer_number is null
    group by hooks.hooked_number

    union all

    select
        hooks.customer_number,
        groups.root_number
    from groups
    inner join hooks
        on groups.customer_number = hooks.hooked_number

),

final as (

    select
        -- ids
        numbered.customer_id,
        roots.customer_id as connected_group_id

    from groups
    inner join numbered
        on groups.customer_number = numbered.customer_number
    inner join numbered as roots
        on groups.root_number = roots.customer_number

)

select * from final

{% endif %}
