{#-
    Whole days from one date to another; negative where the other comes first.

    first, last: SQL expressions of dates
-#}
{% macro days_from(first, last) -%}
    {{ return(adapter.dispatch('days_from', 'granary')(first, last)) }}
{%- endmacro %}

{# Elsewhere the difference of two dates is an interval, or datediff() has it. #}
{% macro default__days_from(first, last) -%}
    ({{ last }} - {{ first }})
{%- endmacro %}
