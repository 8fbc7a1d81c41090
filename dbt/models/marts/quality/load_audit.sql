-- Rebuilt in full: a batch may be replaced later, and there are few batches. Without statistics, the planner would expect a
-- handful, and compare each with each where rejected_shares joins them.
{{ config(
    post_hook='{{ analyze() }}',
) }}

with

batches as (

    select * from {{ ref('stg_ledger__batches') }}

),

rejections as (

    select
        _batch_id,
        count(distinct case when severity = 'row' then _row_id end) as rows_rejected_count,
        count(case when severity = 'value' then _row_id end) as values_rejected_count
    from {{ ref('int_quality__rejections') }}
    group by _batch_id

),

final as (

    select
        -- ids
        batches.batch_id,
        batches.replaced_by_batch_id,
        batches.first_row_id,
        batches.feed,
        batches.entity,

        -- text
        batches.file_path,
        batches.status,
        batches.error,

        -- numerics
        batches.file_bytes,
        batches.rows_read_count,
        batches.lines_rejected_count,
        batches.rows_loaded_count,
        coalesce(rejections.rows_rejected_count, 0) as rows_rejected_count,
        batches.rows_loaded_count - coalesce(rejections.rows_rejected_count, 0) as rows_staged_count,
        coalesce(rejections.values_rejected_count, 0) as values_rejected_count,

        -- timestamps
        batches.started_at,
        batches.finished_at,
        {{ latest_day_at('batches.finished_at') }} as delivered_on

    from batches
    left join rejections
        on batches.batch_id = rejections._batch_id

)

select * from final
