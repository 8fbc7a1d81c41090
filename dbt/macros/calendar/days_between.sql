{#-
    A query with one row per date (`day`) from the first to the last, inclusive; no rows if either is null.

    first, last: SQL expressions of dates, such as subqueries
-#}
{% macro days_between(first, last) -%}
    {{ return(adapter.dispatch('days_between', 'granary')(first, last)) }}
{%- endmacro %}

{# generate_series is specific to PostgreSQL; other engines explode a sequence. #}
{% macro default__days_between(first, last) -%}
    select cast(days.day as date) as day
    from generate_series(cast({{ first }} as timestamp), cast({{ last }} as timestamp), interval '1 day') as days (day)
{%- endmacro %}
