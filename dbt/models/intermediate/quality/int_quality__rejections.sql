{{ config(
    materialized='incremental',
    unique_key='_batch_id',
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

rejected as (

    select
        rejected_values._batch_id,
        rejected_values._row_id,
        null as line_number,
        rejected_values.severity,
        rejected_values.column_name,
        rejected_values.delivered_value,
        rejected_values.reason
    from rejected_values

    union all

    -- Lines that the loader could not take for rows: they have no raw row.
    select
        rejected_lines._batch_id,
        null as _row_id,
        rejected_lines.line_number,
        'row' as severity,
        null as column_name,
        rejected_lines.delivered_line as delivered_value,
        rejected_lines.reason
    from rejected_lines

),

-- A batch without rejections has a row too, so that the watermark passes it: otherwise a feed that is always clean would be
-- judged again from its first batch on, every time.
final as (

    select
        -- ids
        new_batches.feed,
        new_batches.entity,

        -- text
        rejected.severity,
        rejected.column_name,
        rejected.delivered_value,
        rejected.reason,

        -- provenance
        new_batches.file_path,
        coalesce(rejected.line_number, rejected._row_id - new_batches.first_row_id + 1) as line_number,
        new_batches.batch_id as _batch_id,
        rejected._row_id

    from new_batches
    left join rejected
        on new_batches.batch_id = rejected._batch_id

)

select * from final
