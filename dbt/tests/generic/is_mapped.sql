{#-
    Each value of the column has a row in a list that people maintain, such as a seed. Warns with the number of rows that have
    other values, one result per value.

    to, field: the list and its column
-#}
{% test is_mapped(model, column_name, to, field) %}

    {{ config(severity='warn', fail_calc='coalesce(sum(row_count), 0)') }}

    with

    delivered as (

        select
            {{ column_name }},
            count(*) as row_count
        from {{ model }}
        where {{ column_name }} is not null
        group by {{ column_name }}

    )

    select delivered.*
    from delivered
    left join {{ to }} as mapped
        on delivered.{{ column_name }} = mapped.{{ field }}
    where mapped.{{ field }} is null
    order by
        delivered.row_count desc,
        delivered.{{ column_name }}

{% endtest %}
