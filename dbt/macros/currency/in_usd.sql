{#-
    An amount in USD by the rate of join_fx_rates; null if there is none. It is not rounded, so converted parts add up to the
    converted whole, whatever is summed: round what people read.

    amount: SQL expression of an amount with at most four decimals
-#}
{% macro in_usd(amount) -%}
    cast(cast({{ amount }} as numeric(20, 4)) * fx_rates.usd_per_unit as numeric(38, 14))
{%- endmacro %}


{#- An amount in its own currency where no rate says what it is in USD; 0 where one does. -#}
{% macro unconverted(amount) -%}
    cast(case when fx_rates.usd_per_unit is null then {{ amount }} else 0 end as numeric(20, 4))
{%- endmacro %}
