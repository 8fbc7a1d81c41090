{#-
    numeric(18, 2) from cleaned text; null where it is not an amount.

    An amount has an optional sign or parentheses (both mean negative), an optional $, digits with or without thousands
    commas in the right places, and up to two decimals: 200.50  $1,000.00  -$5  $-5  +5  (5.00)  ($5.00)  $(5.00).
    At most 15 digits stand before the point, so that the cast can't overflow.

    value: SQL expression of cleaned text
-#}
{% macro parse_amount(value) -%}
    {%- set digits = '([0-9]{1,15}|[0-9]{1,3}(,[0-9]{3}){1,4})([.][0-9]{1,2})?' -%}
    {%- set amount = '^([+-]?[$]?' ~ digits ~ '|[$][+-]' ~ digits ~ '|[(][$]?' ~ digits ~ '[)]|[$][(]' ~ digits ~ '[)])$' -%}
    cast(
        case
            when {{ matches(value, amount) }}
                then case when {{ matches(value, '[(-]') }} then '-' else '' end || translate({{ value }}, '$,()+-', '')
        end as numeric(18, 2)
    )
{%- endmacro %}
