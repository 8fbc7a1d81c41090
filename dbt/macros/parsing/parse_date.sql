{#-
    date from cleaned text; null if it is not an existing day such as 2026-02-03. Of a timestamp (see parse_timestamp) it is the
    day in UTC.

    value: SQL expression of cleaned text
-#}
{% macro parse_date(value) -%}
    cast({{ parse_timestamp(value) }} as date)
{%- endmacro %}
