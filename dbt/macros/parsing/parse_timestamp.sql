{#-
    timestamp in UTC (without a zone) from cleaned text; null if it is not a timestamp.

    A timestamp is a date (which means midnight) or ISO 8601: T or a space, optional seconds and fraction, then Z, UTC, an offset
    (which is converted to UTC) or nothing (which means UTC). Digits of the fraction beyond microseconds are cut off, because
    rounding could move a row to the next day. The regular expressions reject forms that only some engines would accept, and
    to_utc rejects days that do not exist, such as 2026-02-30.

    value: SQL expression of cleaned text
-#}
{% macro parse_timestamp(value) -%}
    {%- set date = '[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])' -%}
    {%- set time = '([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]' -%}
    {%- set offset = '(0[0-9]|1[0-4])(:?[0-5][0-9])?' -%}
    case
        when {{ matches(value, '^' ~ date ~ '([T ]' ~ time ~ '([.][0-9]{1,6})?)?( ?(Z|[+-]' ~ offset ~ '))?)?$') }}
            then {{ to_utc(value) }}
        {#- Other spellings of the same. They are rare, and are rewritten before the cast. #}
        when {{ matches(value, '^' ~ date ~ '[Tt ]' ~ time ~ '([.,][0-9]+)?)?( ?([Zz]|UTC|utc|[+−-]' ~ offset ~ '))?$') }}
            then {{ to_utc(in_iso_8601(value)) }}
    end
{%- endmacro %}


{#-
    A timestamp, in a spelling that parse_timestamp accepts, in the one that casts accept: at most six digits of a fraction after
    a point, Z for UTC, and the minus of ASCII.
-#}
{% macro in_iso_8601(value) -%}
    {{ return(adapter.dispatch('in_iso_8601', 'granary')(value)) }}
{%- endmacro %}

{# Other engines write the group in the replacement differently. #}
{% macro default__in_iso_8601(value) -%}
    regexp_replace(replace(translate(upper({{ value }}), ',−', '.-'), 'UTC', 'Z'), '([.][0-9]{6})[0-9]+', '\1')
{%- endmacro %}


{#-
    timestamp in UTC from text in the form that parse_timestamp has checked; null for a day that does not exist, and outside of the
    years 1 to 9999, which an offset can leave: neither Python nor ISO 8601 knows other years.
-#}
{% macro to_utc(value) -%}
    {{ return(adapter.dispatch('to_utc', 'granary')(value)) }}
{%- endmacro %}

{% macro default__to_utc(value) -%}
    {%- set converted = 'cast(' ~ value ~ " as timestamptz) at time zone 'UTC'" -%}
    case
        when pg_input_is_valid({{ value }}, 'timestamptz')
            then
                case
                    when {{ matches(value, ':.*[Z+-]') }}
                        then
                            case
                                when
                                    {{ converted }} between timestamp '0001-01-01'
                                    and timestamp '9999-12-31 23:59:59.999999'
                                    then {{ converted }}
                            end
                    else cast({{ value }} as timestamp)
                end
    end
{%- endmacro %}
