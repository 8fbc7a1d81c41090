{{ config(
    materialized='incremental',
    unique_key='_batch_id',
    pre_hook='{{ record_replayed_values() }}',
    indexes=[{'columns': ['_batch_id']}],
) }}

with

new_batches as (

    select * from {{ ref('stg_ledger__batches') }}
    where batch_id > {{ watermark() }}

),

rejected_values as (

    select * from {{ ref('stg_ledger__rejected_values') }}
    where _batch_id > {{ watermark() }}

),

rejected_lines as (

    select * from {{ ref('stg_ledger__rejected_lines') }}
    where _batch_id > {{ watermark() }}

),

rejected as {{ materialized() }} (

    select
        rejected_values._batch_id,
        rejected_values._row_id,
        null as line_number,
        rejected_values.severity,
        rejected_values.column_name,
        rejected_values.delivered_value,
        rejected_values.reason,
        rejected_values.explanation
    from rejected_values

    union all

    -- Lines that the loader rejected have no raw row.
    select
        rejected_lines._batch_id,
        null as _row_id,
        rejected_lines.line_number,
        'row' as severity,
        null as column_name,
        rejected_lines.delivered_line as delivered_value,
        rejected_lines.reason,
        rejected_lines.explanation
    from rejected_lines

),

located as (

    select
        new_batches.feed,
        new_batches.entity,
        new_batches.file_path,
        rejected._batch_id,
        rejected._row_id,
        coalesce(rejected.line_number, rejected._row_id - new_batches.first_row_id + 1) as line_number,
        rejected.severity,
        rejected.column_name,
        rejected.delivered_value,
        rejected.reason,
        rejected.explanation
    from rejected
    inner join new_batches
        on rejected._batch_id = new_batches.batch_id

),

final as (

    select
        -- ids
        {{ dbt_utils.generate_surrogate_key(['feed', 'entity', '_batch_id', 'line_number', 'column_name']) }} as rejection_id,
        feed,
        entity,

        -- text
        severity,
        column_name,
        delivered_value,
        reason,
        explanation,

        -- provenance
        file_path,
        line_number,
        _batch_id,
        _row_id

    from located

)

select * from final
