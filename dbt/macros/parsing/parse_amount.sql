{#-
    numeric(18, 2) from cleaned text, or with another number of decimals; null if it is not an amount.

    An amount has digits with or without thousands separators in the right places, up to so many decimals (further ones may be 0,
    which loses nothing), an optional $ before them, and an optional sign: in front, behind a $, at the end, or as parentheses,
    which mean negative. 200.50, .50, 12.500, $1,000.00, $ 5.00, -$5, $-5, +5, 5.00-, (5.00), ($5.00), $(5.00). No group of
    thousands follows a 0: 0,250 is a quarter with a decimal comma, and not 250.
    There are at most 15 digits before the decimal point, so that the cast can't overflow.

    value: SQL expression of cleaned text
    decimals: digits after the decimal point, at most
-#}
{% macro parse_amount(value, decimals=2) -%}
    {%- set fraction = '[.][0-9]{1,' ~ decimals ~ '}0{0,18}' -%}
    {%- set digits = '(([0-9]{1,15}|[1-9][0-9]{0,2}(,[0-9]{3}){1,4})(' ~ fraction ~ ')?|' ~ fraction ~ ')' -%}
    {%- set dollar = '([$] ?)?' -%}
    {%- set amount = '^(([+−-]?' ~ dollar ~ '|[$][+−-])' ~ digits ~ '|' ~ dollar ~ digits ~ '[−-]|([(]' ~ dollar ~ '|[$][(])'
        ~ digits ~ '[)])$' -%}
    cast(
        case
            {#- Most amounts are plain, and this check is cheap. #}
            when {{ matches(value, '^-?[0-9]{1,15}([.][0-9]{1,' ~ decimals ~ '})?$') }} then {{ value }}
            when {{ matches(value, amount) }}
                then case when {{ matches(value, '[(−-]') }} then '-' else '' end || translate({{ value }}, '$,()+−- ', '')
        end as numeric({{ 16 + decimals }}, {{ decimals }})
    )
{%- endmacro %}
