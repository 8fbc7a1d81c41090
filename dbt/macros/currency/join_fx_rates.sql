{#-
    A left join with the rate of a currency as of a day, under the alias fx_rates. It never multiplies rows: at most one rate holds.

    currency, day: SQL expressions of an ISO 4217 code and a date
-#}
{% macro join_fx_rates(currency, day) -%}
    left join {{ ref('int_currency__rates') }} as fx_rates
        on
            {{ currency }} = fx_rates.currency
            and {{ day }} >= fx_rates.holds_from
            and {{ day }} < fx_rates.holds_until
{%- endmacro %}
