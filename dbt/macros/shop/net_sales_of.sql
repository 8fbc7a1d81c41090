{#-
    The contribution of a version of an order line to net sales, in USD. Cancelled lines and lines that were sold and returned as
    a whole contribute 0; a return line has a negative quantity and reduces net sales.

    quantity, unit_price_usd, discount_usd, line_status: SQL expressions
-#}
{% macro net_sales_of(quantity, unit_price_usd, discount_usd, line_status) -%}
    case
        when {{ line_status }} = 'cancelled' or ({{ line_status }} = 'returned' and {{ quantity }} > 0) then 0
        when {{ quantity }} < 0 then {{ quantity }} * {{ unit_price_usd }} + {{ discount_usd }}
        else {{ quantity }} * {{ unit_price_usd }} - {{ discount_usd }}
    end
{%- endmacro %}


{#-
    The same for a line as delivered, whose discount is an amount or a percentage of the line.

    quantity, unit_price, discount, status: SQL expressions of the parsed values
-#}
{% macro net_sales_as_delivered(quantity, unit_price, discount, status) -%}
    {{ net_sales_of(quantity, unit_price, discount_in_usd(discount, quantity, unit_price), status) }}
{%- endmacro %}
