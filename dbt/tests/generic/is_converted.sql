{#-
    Each amount other than 0 has its value in USD. Warns with the number of rows that have none because no rate holds on their day, one result per
    currency: add the rates to the seed fx_rates.

    amount, currency, day: columns of the model; column_name: the amount in USD
-#}
{% test is_converted(model, column_name, amount, currency, day) %}

    {{ config(severity='warn', fail_calc='coalesce(sum(row_count), 0)') }}

    select
        {{ currency }} as currency,
        min({{ day }}) as first_day,
        max({{ day }}) as last_day,
        sum({{ amount }}) as unconverted_amount,
        count(*) as row_count
    from {{ model }}
    where
        {{ amount }} <> 0
        and {{ column_name }} is null
    group by {{ currency }}
    order by
        row_count desc,
        {{ currency }}

{% endtest %}
