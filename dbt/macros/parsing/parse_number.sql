{#-
    numeric(38, 18) from cleaned text; null where it is not a number.

    A number has an optional sign, digits, an optional fraction and an optional exponent: 12  -0.5  1.5e-08. There are no
    thousands commas and no currency. At most 20 digits stand before the point; what is beyond the 18th decimal is rounded.

    value: SQL expression of cleaned text
-#}
{% macro parse_number(value) -%}
    cast(
        case when {{ matches(value, '^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]{1,3})?$') }} then {{ to_number(value) }} end
        as numeric(38, 18)
    )
{%- endmacro %}


{#- numeric(38, 18) from text in the form that parse_number has checked; null where it is too large. -#}
{% macro to_number(value) -%}
    {{ return(adapter.dispatch('to_number', 'granary')(value)) }}
{%- endmacro %}

{# Other engines return null from their own try_cast. #}
{% macro default__to_number(value) -%}
    case when pg_input_is_valid({{ value }}, 'numeric(38, 18)') then cast({{ value }} as numeric(38, 18)) end
{%- endmacro %}
