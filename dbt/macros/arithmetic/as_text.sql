{#-
    A number as text, rounded, with a fixed number of decimals.

    value: SQL expression of a number
    decimals: digits after the decimal point
-#}
{% macro as_text(value, decimals) -%}
    cast(cast({{ value }} as numeric(38, {{ decimals }})) as {{ dbt.type_string() }})
{%- endmacro %}
