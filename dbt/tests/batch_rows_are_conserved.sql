-- In every batch, each line that was read is loaded or rejected, each loaded row is staged or rejected, and each staged row is
-- either current or superseded. The test counts staging and its versions independently, row by row.
-- Of batches that have passed, only the rows that a later one supersedes can change: see current_rows_are_those_of_all_batches.

{%- for table in landing_tables() if table.models -%}
{%- do ref('stg_' ~ table.feed ~ '__' ~ table.entity) -%}
{%- endfor %}

with

staged_rows as (

    {%- for version in declared_versions() %}
    {%- set key = version.key | join(', ') %}
    select
        _batch_id,
        {{ version.where }}
        {%- if version.distinct %}
        and _batch_id = max(_batch_id) over (partition by {{ key }}, {{ version.where }})
        and row_number() over (
            partition by {{ key }}, {{ version.where }}, _batch_id, {{ version.distinct | join(', ') }}
            order by _row_id desc
        ) = 1 as is_current
        {%- else %}
        and row_number() over (
            partition by {{ key }}, {{ version.where }}
            order by {{ version.order | join(', ') }}
        ) = 1 as is_current
        {%- endif %}
    from {{ ref(version.staging) }}
    {%- if version.order[0] == '_batch_id desc' %}
    -- A row of a new batch can be superseded by one of an older batch only where something else comes before the batch.
    where _batch_id > {{ tested_batch() }}
    {%- endif %}
    union all
    {%- endfor %}
    select
        cast(null as bigint) as _batch_id,
        cast(null as boolean) as is_current
    where false

),

counted as (

    select
        _batch_id,
        count(*) as staged_count,
        count(case when is_current then 1 end) as current_count,
        count(case when not is_current then 1 end) as superseded_count
    from staged_rows
    group by _batch_id

),

compared as (

    select
        batches.batch_id,
        batches.rows_read_count,
        batches.rows_loaded_count,
        batches.lines_rejected_count,
        batches.rows_rejected_count,
        batches.rows_staged_count,
        used.rows_current_count,
        used.rows_superseded_count,
        coalesce(counted.staged_count, 0) as staged_count,
        coalesce(counted.current_count, 0) as current_count,
        coalesce(counted.superseded_count, 0) as superseded_count
    from {{ ref('batch_usage') }} as used
    inner join {{ ref('load_audit') }} as batches
        on used.batch_id = batches.batch_id
    left join counted
        on used.batch_id = counted._batch_id
    where used.batch_id > {{ tested_batch() }}

)

select * from compared
where
    rows_read_count <> rows_loaded_count + lines_rejected_count
    or rows_loaded_count <> staged_count + rows_rejected_count
    or rows_staged_count <> staged_count
    or rows_current_count <> current_count
    or rows_superseded_count <> superseded_count
