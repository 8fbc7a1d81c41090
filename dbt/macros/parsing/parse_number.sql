{#-
    numeric(38, 18) from cleaned text; null if it is not a number.

    A number has digits, an optional fraction, an optional exponent, and an optional sign, in front or (without an exponent) at
    the end: 12, -0.5, .5, 5- or 1.5e-08. It has no thousands separators or currency symbols, and at most 20 digits before the
    decimal point. It is rounded to 18 decimals.

    value: SQL expression of cleaned text
-#}
{% macro parse_number(value) -%}
    {%- set digits = '([0-9]+([.][0-9]+)?|[.][0-9]+)' -%}
    cast(
        case
            when {{ matches(value, '^[+-]?' ~ digits ~ '([eE][+-]?[0-9]{1,3})?$') }} then {{ to_number(value) }}
            when {{ matches(value, '^(−' ~ digits ~ '([eE][+−-]?[0-9]{1,3})?|' ~ digits ~ '[−-])$') }}
                then {{ to_number(sign_first(value)) }}
        end as numeric(38, 18)
    )
{%- endmacro %}


{#- numeric(38, 18) from text in the form that parse_number has checked; null if it is too large. -#}
{% macro to_number(value) -%}
    {{ return(adapter.dispatch('to_number', 'granary')(value)) }}
{%- endmacro %}

{# Other engines have a try_cast that returns null. #}
{% macro default__to_number(value) -%}
    case when pg_input_is_valid({{ value }}, 'numeric(38, 18)') then cast({{ value }} as numeric(38, 18)) end
{%- endmacro %}
