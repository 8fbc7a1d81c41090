-- Reads the sources directly, because staging does not hold the amounts of rejected rows. An amount is null if a column that it
-- is computed from fails a check, such as a quantity of a million units.
{{ config(materialized='view') }}

{%- for table in reconciled_tables() -%}
{%- do source(table.feed, table.entity) -%}
{%- endfor %}

with

delivered_amounts as (

    {%- for amount in declared_amounts() %}
    {%- set columns = declared_columns(amount.feed, amount.entity) %}
    {%- set checks = checks_of(columns) | selectattr('column', 'in', columns_of_amount(amount.delivered)) %}
    select
        '{{ amount.feed }}' as feed,
        '{{ amount.entity }}' as entity,
        '{{ amount.measure }}' as measure,
        cast(
            case
                when {{ checks | map(attribute='fails') | join(' or ') or 'false' }} then null
                else {{ declared_sql(amount.delivered, 'parsed') }}
            end as numeric(38, 4)
        ) as amount_usd,
        delivered._batch_id,
        delivered._row_id
    {{ delivered_rows(amount.feed, amount.entity, columns) }}
    union all
    {%- endfor %}
    -- Keeps the query valid if no source declares amounts.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as measure,
        cast(null as numeric(38, 4)) as amount_usd,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as _row_id
    where false

),

final as (

    select
        -- ids
        feed,
        entity,

        -- text
        measure,

        -- numerics
        amount_usd,

        -- provenance
        _batch_id,
        _row_id

    from delivered_amounts

)

select * from final
