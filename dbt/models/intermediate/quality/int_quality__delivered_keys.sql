-- Reads the sources directly, because staging holds no rejected rows.
{{ config(materialized='view') }}

{%- for table in landing_tables() -%}
{%- do source(table.feed, table.entity) -%}
{%- endfor %}

with

delivered_keys as (

    {%- for table in landing_tables() %}
    {{ delivered_keys(table.feed, table.entity) }}
    {%- endfor %}
    -- Keeps the query valid if no key can be read.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as delivered_key,
        cast(null as boolean) as is_staged,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as _row_id
    where false

),

final as (

    select
        -- ids
        feed,
        entity,
        delivered_key,

        -- booleans
        is_staged,

        -- provenance
        _batch_id,
        _row_id

    from delivered_keys

)

select * from final
