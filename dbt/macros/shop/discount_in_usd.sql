{#-
    The discount on a line of the shop, in USD, from an amount or a percentage of the line. A percentage is rounded to the cent. No
    discount is larger than the line, which may be worth less than a cent.

    discount, quantity, unit_price: SQL expressions of the parsed values
-#}
{% macro discount_in_usd(discount, quantity, unit_price) -%}
    least(
        cast(
            case
                when right({{ discount }}, 1) = '%'
                    {#- Rounded before it is divided: Spark keeps six decimals of such a product, and would round twice. #}
                    then round(abs({{ quantity }} * {{ unit_price }}) * cast(replace({{ discount }}, '%', '') as numeric(18, 2)), 0) * 0.01
                else cast({{ discount }} as numeric(18, 2))
            end as numeric(38, 4)
        ),
        cast(abs({{ quantity }} * {{ unit_price }}) as numeric(38, 4))
    )
{%- endmacro %}
