{#-
    True where text matches a regular expression, false where it does not, null for null.

    value: SQL expression of text
    pattern: regular expression without backslash classes and without single quotes, so that every engine reads it alike
-#}
{% macro matches(value, pattern) -%}
    {{ return(adapter.dispatch('matches', 'granary')(value, pattern)) }}
{%- endmacro %}

{% macro default__matches(value, pattern) -%}
    {{ value }} ~ '{{ pattern }}'
{%- endmacro %}
