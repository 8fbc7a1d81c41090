{#-
    The address as delivered; null if it does not look like an e-mail address (something, @, a domain with a dot, no whitespace).

    value: SQL expression of cleaned text
-#}
{% macro parse_email(value) -%}
    case when {{ matches(value, '^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:].]+$') }} then {{ value }} end
{%- endmacro %}
