{% test expect_table_row_count_to_equal_other_table(model, compare_model, row_condition=none, compare_row_condition=none) %}

    select counts.*
    from (
        select
            (select count(*) from {{ model }} where {{ row_condition if row_condition else 'true' }}) as row_count,
            (select count(*) from {{ compare_model }} where {{ compare_row_condition if compare_row_condition else 'true' }})
                as compare_row_count
    ) as counts
    where row_count <> compare_row_count

{% endtest %}
