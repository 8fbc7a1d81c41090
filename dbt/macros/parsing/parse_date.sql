{#-
    date from cleaned text; null unless it is an existing day in the form 2026-02-03.

    value: SQL expression of cleaned text
-#}
{% macro parse_date(value) -%}
    case when length({{ value }}) = 10 then cast({{ parse_timestamp(value) }} as date) end
{%- endmacro %}
