-- Ephemeral: dbt drops a view together with a table that it replaces, and a build of a part doesn't make it again.
{{ config(materialized='ephemeral') }}

with

counted as (

    {%- for table in landing_tables() if table.models %}
    select
        '{{ table.feed }}' as feed,
        '{{ table.entity }}' as entity,
        _batch_id,
        count(*) as rows_current_count
    from {{ ref(table.models[0]) }}
    {%- if holds_all_versions(table.models[0]) %}
    where is_current
    {%- endif %}
    group by _batch_id
    union all
    {%- endfor %}
    -- Keeps the query valid if no table has current versions.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as rows_current_count
    where false

),

final as (

    select
        -- ids
        feed,
        entity,

        -- numerics
        rows_current_count,

        -- provenance
        _batch_id

    from counted

)

select * from final
