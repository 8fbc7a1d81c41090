{#-
    numeric(20, 4) from cleaned text; null if it is not a price: an amount (see parse_amount) with up to four decimals, because
    the price of one unit may be less than a cent.

    value: SQL expression of cleaned text
-#}
{% macro parse_price(value) -%}
    {{ parse_amount(value, decimals=4) }}
{%- endmacro %}
