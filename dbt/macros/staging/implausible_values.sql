{#-
    One row per value of a safe row (see safe_rows) for which the condition `should` of its column is false: it is kept, and
    people are told. The query is empty if the table declares no such condition.

    feed, entity: names of the source and its table
-#}
{% macro implausible_values(feed, entity) %}
    {%- set columns = declared_columns(feed, entity) | selectattr('should') | list if execute else [] -%}
    {%- set delivered_on = latest_day_at('batches.finished_at') -%}
    {%- set fails = [] -%}
    {%- for column in columns -%}
        {%- set condition = columns_in('sound', column.should | replace('{delivered_on}', delivered_on)) -%}
        {%- do fails.append('(' ~ condition ~ ') is false') -%}
    {%- endfor -%}
    {%- do source(feed, entity) -%}
    {%- if columns %}
    select
        '{{ feed }}' as feed,
        '{{ entity }}' as entity,
        checks.column_name,
        case checks.check_number
            {%- for column in columns %}
            when {{ loop.index }} then cast({{ column_in('sound', column.name) }} as {{ dbt.type_string() }})
            {%- endfor %}
        end as kept_value,
        checks.explanation,
        sound._batch_id,
        sound._row_id
    from ({{ safe_rows(feed, entity) }}) as sound
    inner join {{ source('ledger', '_batches') }} as batches
        on sound._batch_id = batches.batch_id
    inner join (
        {%- for column in columns %}
        select
            {{ loop.index }} as check_number,
            '{{ column.name }}' as column_name,
            '{{ dbt.escape_single_quotes('is not plausible: ' ~ column.should | replace('{', '') | replace('}', '')) }}' as explanation
        {% if not loop.last %}union all{% endif %}
        {%- endfor %}
    ) as checks
        on
            -- Nearly every row passes all checks, and this condition alone excludes it.
            ({{ fails | join(' or ') }})
            and case checks.check_number
                {%- for fail in fails %}
                when {{ loop.index }} then {{ fail }}
                {%- endfor %}
            end
    {%- endif %}
{% endmacro %}
