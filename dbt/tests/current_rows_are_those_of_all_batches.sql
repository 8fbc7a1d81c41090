-- The current rows of all batches of an entity, added up, are those of its current versions: a batch that supersedes rows takes
-- them from the batches that had them.

with

used as (

    select
        feed,
        entity,
        sum(rows_current_count) as used_count
    from {{ ref('batch_usage') }}
    group by
        feed,
        entity

),

counted as (

    {%- for table in landing_tables() if table.models %}
    select
        '{{ table.feed }}' as feed,
        '{{ table.entity }}' as entity,
        count(*) as current_count
    from {{ ref(table.models[0]) }}
    {%- if holds_all_versions(table.models[0]) %}
    where is_current
    {%- endif %}
    union all
    {%- endfor %}
    -- Keeps the query valid if no table has current versions.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as bigint) as current_count
    where false

)

select
    counted.feed,
    counted.entity,
    counted.current_count,
    coalesce(used.used_count, 0) as used_count
from counted
left join used
    on
        counted.feed = used.feed
        and counted.entity = used.entity
where counted.current_count <> coalesce(used.used_count, 0)
