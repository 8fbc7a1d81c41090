-- Each line that was read is loaded or rejected, each loaded row is staged or quarantined, and each staged row is the current
-- version or has a later one, in every batch: staging and its versions are counted here, row by row.

with

staged_rows as (

    {%- for entity in current_versions() %}
    select
        _batch_id,
        {{ entity.eligible }}
        and row_number() over (
            partition by {{ entity.key }}, {{ entity.eligible }}
            order by {{ entity.latest }}
        ) = 1 as is_current
    from {{ ref('stg_' ~ entity.feed ~ '__' ~ entity.entity) }}
    {% if not loop.last %}union all{% endif %}
    {%- endfor %}

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
        batches.rows_quarantined_count,
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

)

select * from compared
where
    rows_read_count <> rows_loaded_count + lines_rejected_count
    or rows_loaded_count <> staged_count + rows_quarantined_count
    or rows_staged_count <> staged_count
    or rows_current_count <> current_count
    or rows_superseded_count <> superseded_count
