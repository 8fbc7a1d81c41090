{#-
    A discount from cleaned text, as text in a uniform spelling: `10%` or `12.5%` for a percentage, `5.00` for an amount (see
    parse_amount). Null if it is neither.

    value: SQL expression of cleaned text
-#}
{% macro parse_discount(value) -%}
    coalesce(
        case when {{ matches(value, '^[0-9]{1,3}([.][0-9]{1,2})? ?%$') }} then replace({{ value }}, ' ', '') end,
        cast({{ parse_amount(value) }} as {{ dbt.type_string() }})
    )
{%- endmacro %}
