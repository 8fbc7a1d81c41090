{#-
    The address as delivered; null if it does not look like an e-mail address (something, @, a domain with a dot, no whitespace).

    value: SQL expression of cleaned text
-#}
{% macro parse_email(value) -%}
    {#- What else than ASCII is whitespace depends on the engine, and in PostgreSQL on the locale of the server. -#}
    {%- set neither = '@[:space:]' ~ spaces_beyond_ascii() -%}
    case when {{ matches(value, '^[^' ~ neither ~ ']+@[^' ~ neither ~ ']+[.][^' ~ neither ~ '.]+$') }} then {{ value }} end
{%- endmacro %}
