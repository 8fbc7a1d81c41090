{#-
    One row per rejected value, and one row without a column per row of a replaced batch. With severity `row` the whole row is
    rejected; with `value` only the value is, and is null in staging. This is the counterpart of safe_rows: each raw row is either
    there, or here with severity `row`.

    feed, entity: names of the source and its table
-#}
{% macro rejected_values(feed, entity) %}
    {%- set columns = declared_columns(feed, entity) if execute else [] -%}
    {%- set checks = checks_of(columns) -%}
    {%- if checks %}
    select
        '{{ feed }}' as feed,
        '{{ entity }}' as entity,
        checks.severity,
        checks.column_name,
        case checks.check_number
            {%- for check in checks %}
            when {{ loop.index }} then {{ column_in('delivered', check.column) }}
            {%- endfor %}
        end as delivered_value,
        checks.reason,
        checks.explanation,
        delivered._batch_id,
        delivered._row_id
    {{ delivered_rows(feed, entity, columns) }}
    inner join (
        {%- for check in checks %}
        select
            {{ loop.index }} as check_number,
            '{{ check.column }}' as column_name,
            '{{ check.severity }}' as severity,
            '{{ check.reason }}' as reason,
            '{{ dbt.escape_single_quotes(check.explanation) }}' as explanation
        {% if not loop.last %}union all{% endif %}
        {%- endfor %}
    ) as checks
        on
            -- Nearly every row passes all checks, and this condition alone excludes it.
            ({{ checks | map(attribute='fails') | join(' or ') }})
            and case checks.check_number
                {%- for check in checks %}
                when {{ loop.index }} then {{ check.fails }}
                {%- endfor %}
            end
    where delivered._batch_id not in {{ replaced_batches() }}
    union all
    {%- endif %}
    select
        '{{ feed }}' as feed,
        '{{ entity }}' as entity,
        'row' as severity,
        null as column_name,
        null as delivered_value,
        'replaced_batch' as reason,
        'its batch was replaced by a later one' as explanation,
        _batch_id,
        _row_id
    from {{ source(feed, entity) }}
    -- `is true` keeps PostgreSQL from a join that would read the ledger once for each new row, of which it expects hardly any.
    where (_batch_id in {{ replaced_batches() }}) is true
{% endmacro %}
