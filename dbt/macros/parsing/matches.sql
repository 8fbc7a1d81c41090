{#-
    True if text matches a regular expression, false if it does not, null for null.

    value: SQL expression of text
    pattern: regular expression without backslash classes and single quotes, so that all engines read it the same way
-#}
{% macro matches(value, pattern) -%}
    {{ return(adapter.dispatch('matches', 'granary')(value, pattern)) }}
{%- endmacro %}

{% macro default__matches(value, pattern) -%}
    {{ value }} ~ '{{ pattern }}'
{%- endmacro %}
