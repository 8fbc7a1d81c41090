{#-
    Prints why a customer id belongs to its customer: the merges from the id to its canonical customer, each with the file and
    line from which it was read; and the earlier merges, of an id on the way or with it, that a later merge undid.

        bin/dbt run-operation explain_customer --args '{customer_id: c_0011}'

    customer_id: any customer id ever seen
-#}
{% macro explain_customer(customer_id) %}
    {%- set customers = ref('int_identity__canonical_customers') -%}
    {%- set path -%}
        with recursive path as (

            select
                0 as step,
                customers.*
            from {{ customers }} as customers
            where customers.customer_id = {{ dbt.string_literal(dbt.escape_single_quotes(customer_id | string)) }}

            union all

            select
                path.step + 1 as step,
                customers.*
            from path
            inner join {{ customers }} as customers
                on path.absorbed_by_customer_id = customers.customer_id

        )

        select
            path.customer_id,
            path.canonical_customer_id,
            path.absorbed_by_customer_id,
            path.absorbed_at,
            batches.file_path,
            path.merge_row_id - batches.first_row_id + 1 as line_number
        from path
        left join {{ ref('stg_ledger__batches') }} as batches
            on path.merge_batch_id = batches.batch_id
        order by path.step
    {%- endset -%}
    {%- set undone -%}
        select
            undone.*,
            earlier.file_path,
            undone._row_id - earlier.first_row_id + 1 as line_number,
            later.file_path as undone_file_path,
            undone.undone_row_id - later.first_row_id + 1 as undone_line_number
        from {{ ref('int_identity__undone_merges') }} as undone
        inner join {{ ref('stg_ledger__batches') }} as earlier
            on undone._batch_id = earlier.batch_id
        inner join {{ ref('stg_ledger__batches') }} as later
            on undone.undone_batch_id = later.batch_id
        where
            undone.from_customer_id in (select path.customer_id from ({{ path }}) as path)
            or undone.to_customer_id in (select path.customer_id from ({{ path }}) as path)
        order by
            undone.merged_at,
            undone._row_id
    {%- endset -%}
    {%- if execute -%}
        {%- set steps = run_query(path).rows -%}
        {%- if not steps -%}
            {{ exceptions.raise_compiler_error("Unknown customer id " ~ customer_id ~ ": no page view or merge names it.") }}
        {%- endif -%}
        {%- for step in steps if step['absorbed_by_customer_id'] is not none -%}
            {%- do print(printable(step['customer_id'] ~ " was absorbed by " ~ step['absorbed_by_customer_id'] ~ " on "
                ~ step['absorbed_at'] ~ " (" ~ step['file_path'] ~ ", line " ~ step['line_number'] ~ ")")) -%}
        {%- endfor -%}
        {%- for merge in run_query(undone).rows -%}
            {%- do print(printable(merge['from_customer_id'] ~ " was absorbed by " ~ merge['to_customer_id'] ~ " on " ~ merge['merged_at']
                ~ " (" ~ merge['file_path'] ~ ", line " ~ merge['line_number'] ~ "), until " ~ merge['undone_by_customer_id']
                ~ " absorbed it on " ~ merge['undone_at'] ~ " (" ~ merge['undone_file_path'] ~ ", line "
                ~ merge['undone_line_number'] ~ ")")) -%}
        {%- endfor -%}
        {%- do print(printable(customer_id ~ (" is its own canonical customer." if steps | length == 1
            else " belongs to " ~ steps[0]['canonical_customer_id'] ~ "."))) -%}
    {%- endif -%}
{% endmacro %}
