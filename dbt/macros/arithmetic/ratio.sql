{#-
    numerator / denominator, rounded; null if the denominator is 0. Both sides are cast, because the result of 7/2 depends on the
    engine.

    numerator, denominator: SQL expressions of numbers
    decimals: digits after the decimal point, at most 18
-#}
{% macro ratio(numerator, denominator, decimals) -%}
    {{ return(adapter.dispatch('ratio', 'granary')(numerator, denominator, decimals)) }}
{%- endmacro %}

{% macro default__ratio(numerator, denominator, decimals) -%}
    cast(round(
        cast({{ numerator }} as numeric(38, 18)) / nullif(cast({{ denominator }} as numeric(38, 18)), 0), {{ decimals }}
    ) as numeric(38, {{ decimals }}))
{%- endmacro %}
