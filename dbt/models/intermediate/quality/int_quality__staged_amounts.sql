-- Kept per batch, because staging parses a row each time it is read, and a batch stays as it was delivered.
{{ config(
    materialized='incremental',
    unique_key=['_batch_id', 'feed', 'measure'],
) }}

{%- for table in reconciled_tables() -%}
{%- do ref(table.staging) -%}
{%- endfor %}

with

staged_amounts as (

    {%- for amount in declared_amounts() %}
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.entity }}' as entity,
        '{{ amount.measure }}' as measure,
        {{ declared_sql(amount.staged, 'staged') }} as amount_usd,
        staged._batch_id
    from {{ ref(amount.staging) }} as staged
    where staged._batch_id > {{ watermark() }}
    union all
    {%- endfor %}
    -- Keeps the query valid if no source declares amounts.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as measure,
        cast(null as numeric(38, 4)) as amount_usd,
        cast(null as bigint) as _batch_id
    where false

),

final as (

    select
        -- ids
        feed,
        entity,
        measure,

        -- numerics
        -- Not rounded: what rounding takes from each batch would add up.
        coalesce(sum(amount_usd), 0) as amount_usd,
        count(*) as row_count,

        -- provenance
        _batch_id

    from staged_amounts
    group by
        feed,
        entity,
        measure,
        _batch_id

)

select * from final
