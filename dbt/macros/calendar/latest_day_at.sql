{#-
    The latest date that any place on Earth had at a moment: that of UTC+14.

    moment: SQL expression of a timestamp with time zone
-#}
{% macro latest_day_at(moment) -%}
    {{ return(adapter.dispatch('latest_day_at', 'granary')(moment)) }}
{%- endmacro %}

{# Other engines convert between time zones with a function. #}
{% macro default__latest_day_at(moment) -%}
    cast({{ moment }} at time zone 'UTC' + interval '14 hours' as date)
{%- endmacro %}
