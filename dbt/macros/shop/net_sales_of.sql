{#-
    What a delivered version of an order line adds to net sales, in USD. A cancelled line adds nothing, nor does one that was sold
    and came back as a whole; one that only came back takes away, as its quantity is negative.

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
    The same from a line as it was delivered: its discount is an amount, or a share of the line.

    quantity, unit_price, discount, status: SQL expressions of the parsed values
-#}
{% macro net_sales_as_delivered(quantity, unit_price, discount, status) -%}
    {{ net_sales_of(quantity, unit_price, discount_in_usd(discount, quantity, unit_price), status) }}
{%- endmacro %}
