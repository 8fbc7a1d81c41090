{#-
    timestamp in UTC (without a zone) from cleaned text; null if it is not a timestamp.

    A timestamp is a date (which means midnight) or ISO 8601: T or a space, optional seconds and fraction, then Z, an offset
    (which is converted to UTC) or nothing (which means UTC). Digits of the fraction beyond microseconds are cut off, because
    rounding could move a row to the next day. The regular expression rejects forms that only some engines would accept, and
    to_utc rejects days that do not exist, such as 2026-02-30.

    value: SQL expression of cleaned text
-#}
{% macro parse_timestamp(value) -%}
    {%- set date = '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' -%}
    {%- set time = '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?' -%}
    {%- set zone = ' ?(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)' -%}
    case
        when {{ matches(value, '^' ~ date ~ '([T ]' ~ time ~ '(' ~ zone ~ ')?)?$') }}
            then {{ to_utc(value) }}
    end
{%- endmacro %}


{#- timestamp in UTC from text in the form that parse_timestamp has checked; null for a day that does not exist. -#}
{% macro to_utc(value) -%}
    {{ return(adapter.dispatch('to_utc', 'granary')(value)) }}
{%- endmacro %}

{% macro default__to_utc(value) -%}
    {%- set to_microseconds = "regexp_replace(" ~ value ~ ", '([.][0-9]{6})[0-9]+', '\\1')" -%}
    case
        when pg_input_is_valid({{ to_microseconds }}, 'timestamptz')
            then
                case
                    when {{ matches(value, ':.*(Z|[+-])|Z$') }}
                        then cast({{ to_microseconds }} as timestamptz) at time zone 'UTC'
                    else cast({{ to_microseconds }} as timestamp)
                end
    end
{%- endmacro %}
