{#-
    timestamp in UTC (without a zone) from cleaned text with the milliseconds since 1970; null if it is not such a number. It has
    at most 14 digits, which reach the year 5138.

    value: SQL expression of cleaned text
-#}
{% macro parse_epoch_ms(value) -%}
    {{ milliseconds_after_1970('cast(case when ' ~ matches(value, '^[0-9]{1,14}$') ~ ' then ' ~ value ~ ' end as bigint)') }}
{%- endmacro %}


{% macro milliseconds_after_1970(value) -%}
    {{ return(adapter.dispatch('milliseconds_after_1970', 'granary')(value)) }}
{%- endmacro %}

{# Multiplying an interval is specific to PostgreSQL. #}
{% macro default__milliseconds_after_1970(value) -%}
    timestamp '1970-01-01' + {{ value }} * interval '1 millisecond'
{%- endmacro %}
