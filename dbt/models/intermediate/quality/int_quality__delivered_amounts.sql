-- Reads the sources: of a row that staging rejects, this is the only place where its amount is read. An amount is made of some
-- columns; where one of them fails a check, as in a line of a million units, there is no amount.
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
                else {{ amount_of(amount.delivered, 'parsed') }}
            end as numeric(38, 2)
        ) as amount_usd,
        delivered._batch_id,
        delivered._row_id
    {{ delivered_rows(amount.feed, amount.entity, columns) }}
    union all
    {%- endfor %}
    -- Where no source declares amounts, there are none.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as {{ dbt.type_string() }}) as measure,
        cast(null as numeric(38, 2)) as amount_usd,
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
