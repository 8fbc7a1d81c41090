{#-
    The discount on a line of the shop, in USD, from an amount or a percentage of the line.

    discount, quantity, unit_price: SQL expressions of the parsed values
-#}
{% macro discount_in_usd(discount, quantity, unit_price) -%}
        cast(
            case
                when right({{ discount }}, 1) = '%'
                    then round(abs({{ quantity }} * {{ unit_price }}) * cast(replace({{ discount }}, '%', '') as numeric(18, 2)) / 100, 2)
                else cast({{ discount }} as numeric(18, 2))
            end as numeric(18, 2)
        )
{%- endmacro %}
