{#-
    bigint from cleaned text; null if it is not a whole number of at most 18 digits, with an optional sign.

    value: SQL expression of cleaned text
-#}
{% macro parse_integer(value) -%}
    cast(case when {{ matches(value, '^[+-]?[0-9]{1,18}$') }} then {{ value }} end as bigint)
{%- endmacro %}
