{#-
    One row per delivered value that keeps its row out of staging (severity `row`) or that became null there (severity
    `value`), and one row without a column per row of a replaced batch. The counterpart of safe_rows: each raw row is either
    there or here with severity `row`.

    feed, entity: names of the source and its table
-#}
{% macro rejected_values(feed, entity) %}
    {%- set delivered = source(feed, entity) -%}
    {%- set ledger = replaced_batches() -%}
    {%- set columns = [] -%}
    {%- for column in (declared_columns(feed, entity) if execute else []) if column.required or column.parse != 'text' -%}
        {%- do columns.append(column) -%}
    {%- endfor -%}
    select
        '{{ feed }}' as feed,
        '{{ entity }}' as entity,
        severity,
        column_name,
        delivered_value,
        case
            when {{ clean_text('delivered_value') }} is null then 'required, but missing'
            else 'cannot be read as ' || expected
        end as reason,
        _batch_id,
        _row_id
    from (
        select
            checks.severity,
            checks.column_name,
            checks.expected,
            case checks.column_name
                {%- for column in columns %}
                when '{{ column.name }}' then delivered.{{ column.name }}
                {%- endfor %}
            end as delivered_value,
            delivered._batch_id,
            delivered._row_id
        from {{ delivered }} as delivered
        cross join (
            {%- for column in columns %}
            select
                '{{ column.name }}' as column_name,
                '{{ column.parse }}' as expected,
                '{{ 'row' if column.required else 'value' }}' as severity
            {% if not loop.last %}union all{% endif %}
            {%- endfor %}
        ) as checks
        where
            delivered._batch_id not in {{ ledger }}
            and case checks.column_name
                {%- for column in columns %}
                {%- set cleaned = clean_text('delivered.' ~ column.name) %}
                when '{{ column.name }}'
                    then {% if not column.required %}{{ cleaned }} is not null and {% endif %}({{ parse_column(column, cleaned) }}) is null
                {%- endfor %}
            end
    ) as failed
    union all
    select
        '{{ feed }}' as feed,
        '{{ entity }}' as entity,
        'row' as severity,
        null as column_name,
        null as delivered_value,
        '{{ reason_replaced() }}' as reason,
        _batch_id,
        _row_id
    from {{ delivered }}
    where _batch_id in {{ ledger }}
{% endmacro %}


{#- Said of the rows of a replaced batch. -#}
{% macro reason_replaced() -%}
    its batch was replaced by a later one
{%- endmacro %}
