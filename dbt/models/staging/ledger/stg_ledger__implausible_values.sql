{%- do source('ledger', '_batches') -%}

with

implausible_values as (

    {%- for table in landing_tables() %}
    {%- set found = implausible_values(table.feed, table.entity) %}
    {%- if found | trim %}
    {{ found }}
    union all
    {%- endif %}
    {%- endfor %}
    -- Keeps the query valid if no column declares what it should be.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as column_name,
        cast(null as {{ dbt.type_string() }}) as kept_value,
        cast(null as {{ dbt.type_string() }}) as explanation,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as _row_id
    where false

)

select * from implausible_values
