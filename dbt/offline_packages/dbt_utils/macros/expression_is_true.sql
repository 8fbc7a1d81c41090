{#- On a column, the expression is appended to the column's name. As in the real package, null passes. -#}
{% test expression_is_true(model, expression, column_name=none) %}

    select *
    from {{ model }}
    where not ({{ column_name if column_name else '' }} {{ expression }})

{% endtest %}
