-- Rebuilt in full: a batch may supersede rows of any earlier one, and there are few batches.
with

batches as (

    select * from {{ ref('load_audit') }}

),

current_rows as (

    select * from {{ ref('int_quality__current_rows') }}

),

-- An entity that goes no further than staging has no current versions to count.
tracked as (

    select * from batches
    where
        {%- for table in landing_tables() if table.models %}
        (feed = '{{ table.feed }}' and entity = '{{ table.entity }}') or
        {%- endfor %}
        false

),

-- Added up rather than joined: a planner that expects few batches would count all current rows again for each of them.
counted as (

    select
        batch_id,
        feed,
        entity,
        rows_staged_count,
        0 as rows_current_count
    from tracked

    union all

    select
        _batch_id as batch_id,
        feed,
        entity,
        0 as rows_staged_count,
        rows_current_count
    from current_rows

),

final as (

    select
        -- ids
        batch_id,
        feed,
        entity,

        -- numerics
        cast(sum(rows_staged_count) as bigint) as rows_staged_count,
        cast(sum(rows_current_count) as bigint) as rows_current_count,
        cast(sum(rows_staged_count) - sum(rows_current_count) as bigint) as rows_superseded_count

    from counted
    group by
        batch_id,
        feed,
        entity

)

select * from final
