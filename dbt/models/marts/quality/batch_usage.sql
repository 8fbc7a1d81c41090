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

final as (

    select
        -- ids
        tracked.batch_id,
        tracked.feed,
        tracked.entity,

        -- numerics
        tracked.rows_staged_count,
        coalesce(current_rows.rows_current_count, 0) as rows_current_count,
        tracked.rows_staged_count - coalesce(current_rows.rows_current_count, 0) as rows_superseded_count

    from tracked
    left join current_rows
        on tracked.batch_id = current_rows._batch_id

)

select * from final
