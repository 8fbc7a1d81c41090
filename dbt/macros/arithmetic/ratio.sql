{#-
    numerator / denominator, rounded; null where the denominator is 0. Both sides are cast, because what 7/2 is depends on
    the engine.

    numerator, denominator: SQL expressions of numbers
    decimals: digits after the point, at most 18
-#}
{% macro ratio(numerator, denominator, decimals) -%}
    cast(round(
        cast({{ numerator }} as numeric(38, 18)) / nullif(cast({{ denominator }} as numeric(38, 18)), 0), {{ decimals }}
    ) as numeric(38, {{ decimals }}))
{%- endmacro %}
