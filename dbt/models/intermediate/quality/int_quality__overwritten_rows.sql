{{ config(
    materialized='incremental',
    unique_key='_batch_id',
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

{%- for table in landing_tables() if table.models -%}
{%- do ref('stg_' ~ table.feed ~ '__' ~ table.entity) -%}
{%- endfor %}

with

overwritten as (

    {#- Where rows are their own key, none can overwrite another. Only columns that staging's YAML lists are compared. -#}
    {%- for version in declared_versions() if version.columns and '_row_id' not in version.key %}
    {#- Rows that tie in all of these are told apart by their place in the file alone. #}
    {%- set ties = version.key + version.distinct + ['_batch_id'] %}
    {%- for column in version.order if column.split(' ')[0] not in ties + ['_row_id'] %}
    {%- do ties.append(column.split(' ')[0]) %}
    {%- endfor %}
    {%- set window = 'partition by ' ~ ties | join(', ')
        ~ ' order by _row_id rows between unbounded preceding and unbounded following' %}
    select
        '{{ version.feed }}' as feed,
        '{{ version.entity }}' as entity,
        _batch_id,
        _row_id
    from (
        -- Each row beside the last of its ties.
        select
            {%- for column in version.columns %}
            {{ column }},
            last_value({{ column }}) over ({{ window }}) as last_{{ column }},
            {%- endfor %}
            _batch_id,
            _row_id,
            max(_row_id) over ({{ window }}) as last_row_id
        from {{ ref(version.staging) }}
        where
            _batch_id > {{ watermark() }}
            and {{ version.where }}
    ) as compared
    where
        _row_id < last_row_id
        and (
            {%- for column in version.columns %}
            {% if not loop.first %}or {% endif %}{{ column }} is distinct from last_{{ column }}
            {%- endfor %}
        )
    union all
    {%- endfor %}
    -- Keeps the query valid if no table has current versions.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as _row_id
    where false

),

final as (

    select
        -- ids
        feed,
        entity,

        -- provenance
        _batch_id,
        _row_id

    from overwritten

)

select * from final
