{#-
    Text without outer whitespace, which includes no-break spaces and zero-width marks; null if the rest is a sentinel that means
    "nothing". Inner whitespace and letter case stay as delivered.

    value: SQL expression of text
-#}
{% macro clean_text(value) -%}
    {%- set trimmed = trim_whitespace(value) -%}
    case when {{ trimmed }} not in ('', 'N/A', 'NULL', 'None', 'null', '-') then {{ trimmed }} end
{%- endmacro %}


{% macro trim_whitespace(value) -%}
    {{ return(adapter.dispatch('trim_whitespace', 'granary')(value)) }}
{%- endmacro %}

{# The escapes are specific to PostgreSQL; other engines write control characters differently. #}
{% macro default__trim_whitespace(value) -%}
    btrim({{ value }}, e' \t\n\r\f\v\u00a0\u200b\ufeff')
{%- endmacro %}
