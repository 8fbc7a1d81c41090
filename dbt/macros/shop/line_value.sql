{#-
    What a line of the shop is worth, in USD, whatever its status: quantity times price, less the discount. It is negative for
    returned units, and for adjustments, whose price is negative. The discount brings it closer to 0, because a refund is what was
    paid.

    quantity, unit_price_usd, discount_usd: SQL expressions
-#}
{% macro line_value(quantity, unit_price_usd, discount_usd) -%}
    {{ quantity }} * {{ unit_price_usd }} - sign({{ quantity }} * {{ unit_price_usd }}) * {{ discount_usd }}
{%- endmacro %}


{#-
    The same for a line as delivered, whose discount is an amount or a percentage of the line.

    quantity, unit_price, discount: SQL expressions of the parsed values
-#}
{% macro line_value_as_delivered(quantity, unit_price, discount) -%}
    {{ line_value(quantity, unit_price, discount_in_usd(discount, quantity, unit_price)) }}
{%- endmacro %}
