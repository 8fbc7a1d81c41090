{#-
    The batch up to which a data test has passed, so that it need not ask again what no later batch can have broken; 0 if it
    reads everything. `bin/update` passes it as a var when nothing but batches is new; any other command tests in full.

        tested_batch    the newest batch of the last update that passed
        tested_in_full  ids of the tests that don't count as passed up to there, because they only warned

    In a singular test: `where _batch_id > {{ tested_batch() }}`. Generic tests are restricted by the macro below.
-#}
{% macro tested_batch() -%}
    {{ return(0 if model.unique_id in var('tested_in_full', []) else var('tested_batch', 0)) }}
{%- endmacro %}


{#-
    What a generic test reads of its model, in dbt's own macro the rows of its `where`. Here it is also restricted to the rows that
    may have changed since it passed, if the model's meta says how to tell them:

        changed_batches  columns with the batches that wrote or changed a row: if none is newer, the row is as it was tested

    This is right for a test that judges each row alone. In a view on landing tables, where no row ever changes, it is also right
    for a key with `_row_id`, because no number is used by two batches. Other tests read everything.
-#}
{% macro default__get_where_subquery(relation) -%}
    {%- set columns = graph.nodes[model.attached_node].config.meta.changed_batches
        if execute and tested_batch() and not config.get('where') and model.attached_node in graph.nodes -%}
    {%- if not columns or not is_told_by_new_rows(model, columns) -%}
        {{ return(dbt.default__get_where_subquery(relation)) }}
    {%- endif -%}
    {%- set changed -%}
        (
            select * from {{ relation }}
            where
                {%- for column in columns %}
                {{ 'or ' if not loop.first }}{{ column }} > {{ tested_batch() }}
                {%- endfor %}
        ) as dbt_subquery
    {%- endset -%}
    {{ return(changed) }}
{%- endmacro %}


{#-
    Whether a generic test passes if it has passed before and the rows that may have changed since pass.

    test: the test, as a node of dbt's graph
    columns: the columns that tell these rows
-#}
{% macro is_told_by_new_rows(test, columns) %}
    {%- set name, arguments = test.test_metadata.name, test.test_metadata.kwargs -%}
    {%- set key = arguments.combination_of_columns or [arguments.column_name] -%}
    {%- set judges_rows = name in (
        'not_null', 'accepted_values', 'accepted_range', 'expression_is_true', 'expect_column_values_to_be_between'
    ) -%}
    {%- set judges_keys = name in ('unique', 'unique_combination_of_columns') and '_row_id' in key
        and graph.nodes[test.attached_node].config.materialized == 'view' -%}
    {#- A row whose column is null would not be found by it. -#}
    {{ return((judges_rows and arguments.column_name not in columns) or judges_keys) }}
{% endmacro %}
