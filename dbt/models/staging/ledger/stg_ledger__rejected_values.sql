{{ config(
    materialized='incremental' if target.type == 'spark' else 'view',
    incremental_strategy='delete+insert',
    unique_key='_batch_id',
) }}

with

rejected_values as (

    {%- if target.type == 'spark' %}
    {{ spark_rejected_values() }}
    {%- else %}
    {%- for table in landing_tables() %}
    {{ rejected_values(table.feed, table.entity) }}
    union all
    {%- endfor %}
    {%- endif %}
    -- Keeps the query valid if there are no feeds.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as severity,
        cast(null as {{ dbt.type_string() }}) as column_name,
        cast(null as {{ dbt.type_string() }}) as delivered_value,
        cast(null as {{ dbt.type_string() }}) as reason,
        cast(null as {{ dbt.type_string() }}) as explanation,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as _row_id
    where false

)

select * from rejected_values
