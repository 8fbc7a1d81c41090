{#- Cleaned text is text already: it always parses. -#}
{% macro parse_text(value) -%}
    {{ value }}
{%- endmacro %}
