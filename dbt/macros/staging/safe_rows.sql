{#-
    The rows of a landing table that are safe to use: typed, with the delivered column names and their provenance.

    Each column is cleaned, parsed and checked as the source declares (see declared_columns). Rows without a valid value in a
    required column are rejected, and so are rows of a replaced batch; rejected_values lists them. Where brands deliver to the table,
    `_brand` is the brand of a row, and `_extra` a JSON object of its values in columns that aren't declared (null if there are none).

    feed, entity: names of the source and its table
-#}
{% macro safe_rows(feed, entity) %}
    {%- set columns = declared_columns(feed, entity) if execute else [] -%}
    {%- set checks = checks_of(columns) -%}
    select
        {%- for column in columns %}
        {%- set failing = checks | selectattr('column', 'equalto', column.name) | selectattr('severity', 'equalto', 'value')
            | map(attribute='fails') | join(' or ') %}
        {%- set parsed = column_in('parsed', column.name) %}
        {% if column.must and failing -%}
        {#- nullif keeps the precision of a numeric type, which case would lose. -#}
        nullif({{ parsed }}, case when {{ failing }} then {{ parsed }} end) as {{ adapter.quote(column.name) }},
        {%- else -%}
        {{ parsed }},
        {%- endif %}
        {%- if column.adds_currency %}
        case when {{ parsed }} is not null then {{ column_in('spelled', column.name ~ '_currency') }} end
            as {{ adapter.quote(column.name ~ '_currency') }},
        {%- endif %}
        {%- endfor %}
        {%- if has_brands(feed, entity) %}
        batches.brand as _brand,
        delivered._extra,
        {%- endif %}
        delivered._batch_id,
        delivered._row_id
    {{ delivered_rows(feed, entity, columns) }}
    {{ join_brands(feed, entity) }}
    where
        delivered._batch_id not in {{ replaced_batches() }}
        {%- for check in checks if check.severity == 'row' %}
        and not coalesce({{ check.fails }}, false)
        {%- endfor %}
{% endmacro %}
