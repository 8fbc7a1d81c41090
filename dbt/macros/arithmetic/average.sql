{#-
    The average of the values that are not null, rounded.

    value: SQL expression of a number
    decimals: digits after the decimal point, at most 18
    window: name or definition of the window over which the average is taken; without one it is that of the group
-#}
{% macro average(value, decimals, window=none) -%}
    {{ return(adapter.dispatch('average', 'granary')(value, decimals, ' over ' ~ window if window else '')) }}
{%- endmacro %}

{# avg() has four more digits than its values in Spark, and is floating point in DuckDB. #}
{% macro default__average(value, decimals, over) -%}
    {{ ratio('sum(' ~ value ~ ')' ~ over, 'count(' ~ value ~ ')' ~ over, decimals) }}
{%- endmacro %}

{# avg() has 16 digits in PostgreSQL, whose numbers may be longer than elsewhere: a sum of the largest values still fits. #}
{% macro postgres__average(value, decimals, over) -%}
    cast(round(
        cast(sum({{ value }}){{ over }} as numeric(60, 18)) / nullif(count({{ value }}){{ over }}, 0), {{ decimals }}
    ) as numeric(38, {{ decimals }}))
{%- endmacro %}
