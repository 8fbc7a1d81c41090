{#- Null values pass. -#}
{% test expect_column_values_to_be_between(model, column_name, min_value=none, max_value=none, row_condition=none, strictly=false) %}

    select *
    from {{ model }}
    where
        {{ row_condition if row_condition else 'true' }}
        and (
            false
            {%- if min_value is not none %} or {{ column_name }} {{ '<=' if strictly else '<' }} {{ min_value }}{% endif %}
            {%- if max_value is not none %} or {{ column_name }} {{ '>=' if strictly else '>' }} {{ max_value }}{% endif %}
        )

{% endtest %}
