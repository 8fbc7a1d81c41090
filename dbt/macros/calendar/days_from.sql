{#-
    Number of days from one date to another; negative if the second date is earlier.

    first, last: SQL expressions of dates
-#}
{% macro days_from(first, last) -%}
    {{ return(adapter.dispatch('days_from', 'granary')(first, last)) }}
{%- endmacro %}

{# On other engines the difference between two dates is an interval, or needs datediff(). #}
{% macro default__days_from(first, last) -%}
    cast({{ last }} - {{ first }} as integer)
{%- endmacro %}
