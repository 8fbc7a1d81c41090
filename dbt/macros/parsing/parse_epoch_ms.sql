{#-
    timestamp in UTC (without a zone) from cleaned text with the milliseconds since 1970; null if it is not such a number.

    It has 12 to 14 digits, which reach from March 1973 to November 5138, or 12 or 13 after a minus, which reach from October 1966
    back to 1653. So no value can be read both as milliseconds and as seconds (see parse_epoch_s). A fraction is cut off after
    microseconds.

    value: SQL expression of cleaned text
-#}
{% macro parse_epoch_ms(value) -%}
    {{ parse_epoch(value, '([0-9]{12,14}|-[0-9]{12,13})', 1000) }}
{%- endmacro %}


{#-
    timestamp in UTC from cleaned text with a number of units since 1970; null if it is not such a number.

    value: SQL expression of cleaned text
    digits: regular expression of the number without its fraction
    microseconds: how many microseconds a unit has
-#}
{% macro parse_epoch(value, digits, microseconds) -%}
    {%- set whole = 'cast(' ~ value ~ ' as bigint) * ' ~ microseconds -%}
    {%- set fraction = 'cast(floor(cast(' ~ value ~ ' as numeric(38, 9)) * ' ~ microseconds ~ ') as bigint)' -%}
    case
        when {{ matches(value, '^' ~ digits ~ '$') }} then {{ microseconds_after_1970(whole) }}
        when {{ matches(value, '^' ~ digits ~ '[.][0-9]{1,9}$') }} then {{ microseconds_after_1970(fraction) }}
    end
{%- endmacro %}


{% macro microseconds_after_1970(value) -%}
    {{ return(adapter.dispatch('microseconds_after_1970', 'granary')(value)) }}
{%- endmacro %}

{#
    Multiplying an interval is specific to PostgreSQL. It does so in floating point, which is exact for days, and for the
    microseconds of one day, but not for those of centuries.
#}
{% macro default__microseconds_after_1970(value) -%}
    timestamp '1970-01-01'
    + ({{ value }}) / 86400000000 * interval '1 day'
    + ({{ value }}) % 86400000000 * interval '1 microsecond'
{%- endmacro %}
