{#-
    timestamp in UTC (without a zone) from cleaned text that counts the milliseconds since 1970; null where it does not.
    At most 14 digits: the year 5138 is far enough.

    value: SQL expression of cleaned text
-#}
{% macro parse_epoch_ms(value) -%}
    {{ milliseconds_after_1970('cast(case when ' ~ matches(value, '^[0-9]{1,14}$') ~ ' then ' ~ value ~ ' end as bigint)') }}
{%- endmacro %}


{% macro milliseconds_after_1970(value) -%}
    {{ return(adapter.dispatch('milliseconds_after_1970', 'granary')(value)) }}
{%- endmacro %}

{# Multiplying an interval is PostgreSQL's way. #}
{% macro default__milliseconds_after_1970(value) -%}
    timestamp '1970-01-01' + {{ value }} * interval '1 millisecond'
{%- endmacro %}
