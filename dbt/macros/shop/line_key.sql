{#-
    What identifies a line within its order, as delivered: its line_id, or else its product. A return or an adjustment (a negative
    price) is an event of its day; the sale of a product is one line, whatever its day. Null if the quantity can't be read, because
    nothing says then which of them the line is.

    line_id, product_id, quantity, unit_price, order_date: SQL expressions of the parsed values
-#}
{% macro line_key(line_id, product_id, quantity, unit_price, order_date) -%}
    case
        when {{ line_id }} is not null then concat('line ', {{ line_id }})
        when {{ quantity }} < 0
            then concat('return of ', {{ product_id }}, ' on ', cast({{ order_date }} as {{ dbt.type_string() }}))
        when {{ unit_price }} < 0
            then concat('adjustment of ', {{ product_id }}, ' on ', cast({{ order_date }} as {{ dbt.type_string() }}))
        when {{ quantity }} is not null then concat('sale of ', {{ product_id }})
    end
{%- endmacro %}
