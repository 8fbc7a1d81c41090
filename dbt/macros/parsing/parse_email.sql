{#-
    The address as delivered; null where it does not look like one (something, @, a domain with a dot, no whitespace).

    value: SQL expression of cleaned text
-#}
{% macro parse_email(value) -%}
    case when {{ matches(value, '^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:].]+$') }} then {{ value }} end
{%- endmacro %}
