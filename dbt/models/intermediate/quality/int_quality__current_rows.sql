{{ config(
    materialized='incremental',
    unique_key='_batch_id',
    indexes=[{'columns': ['_batch_id']}],
    post_hook="{{ delete_rows('rows_current_count = 0') }}",
) }}

-- depends_on: {{ ref('stg_ledger__batches') }}

with

-- A new batch takes rows from older ones. Where versions don't say so, all batches are counted again.
counted as (

    {%- for table in landing_tables() if table.models %}
    {%- set model = table.models[0] %}
    {%- if is_incremental() and says_when_superseded(model) %}
    select
        '{{ table.feed }}' as feed,
        '{{ table.entity }}' as entity,
        changed._batch_id,
        count(versions._batch_id) as rows_current_count
    from (
        select batch_id as _batch_id from {{ ref('stg_ledger__batches') }}
        where
            feed = '{{ table.feed }}'
            and entity = '{{ table.entity }}'
            and batch_id > {{ watermark() }}
        union
        select _batch_id from {{ ref(model) }}
        where superseded_by_batch_id > {{ watermark() }}
    ) as changed
    left join {{ ref(model) }} as versions
        on
            changed._batch_id = versions._batch_id
            and versions.is_current
    group by changed._batch_id
    union all
    {%- else %}
    select
        '{{ table.feed }}' as feed,
        '{{ table.entity }}' as entity,
        _batch_id,
        count(*) as rows_current_count
    from {{ ref(model) }}
    {%- if holds_all_versions(model) %}
    where is_current
    {%- endif %}
    group by _batch_id
    union all
    {%- if is_incremental() %}
    select
        feed,
        entity,
        _batch_id,
        0 as rows_current_count
    from {{ this }}
    where
        feed = '{{ table.feed }}'
        and entity = '{{ table.entity }}'
    union all
    {%- endif %}
    {%- endif %}
    {%- endfor %}
    -- Keeps the query valid if no table has current versions.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as entity,
        cast(null as bigint) as _batch_id,
        cast(null as bigint) as rows_current_count
    where false

),

-- A batch that lost its last current row gets a count of 0: this row replaces the old one, and the hook deletes it.
final as (

    select
        -- ids
        feed,
        entity,

        -- numerics
        cast(sum(rows_current_count) as bigint) as rows_current_count,

        -- provenance
        _batch_id

    from counted
    group by
        feed,
        entity,
        _batch_id

)

select * from final
