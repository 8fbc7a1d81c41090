{#- The text itself, because cleaned text is always valid text. -#}
{% macro parse_text(value) -%}
    {{ value }}
{%- endmacro %}
