{#-
    numeric(18, 2) from cleaned text, or with another number of decimals; null if it is not an amount.

    An amount has an optional sign or parentheses (- and parentheses mean negative), an optional $, digits with or without
    thousands separators in the right places, and up to so many decimals: 200.50, $1,000.00, -$5, $-5, +5, (5.00), ($5.00), $(5.00).
    There are at most 15 digits before the decimal point, so that the cast can't overflow.

    value: SQL expression of cleaned text
    decimals: digits after the decimal point, at most
-#}
{% macro parse_amount(value, decimals=2) -%}
    {%- set digits = '([0-9]{1,15}|[0-9]{1,3}(,[0-9]{3}){1,4})([.][0-9]{1,' ~ decimals ~ '})?' -%}
    {%- set amount = '^([+-]?[$]?' ~ digits ~ '|[$][+-]' ~ digits ~ '|[(][$]?' ~ digits ~ '[)]|[$][(]' ~ digits ~ '[)])$' -%}
    cast(
        case
            when {{ matches(value, amount) }}
                then case when {{ matches(value, '[(-]') }} then '-' else '' end || translate({{ value }}, '$,()+-', '')
        end as numeric({{ 16 + decimals }}, {{ decimals }})
    )
{%- endmacro %}
