{{ config(
    unique_key='rejection_id',
    indexes=[
        {'columns': ['rejection_id'], 'unique': true},
        {'columns': ['feed', 'entity', 'severity']},
        {'columns': ['_batch_id']},
    ],
) }}

with

rejected_values as (

    select * from {{ ref('stg_ledger__rejected_values') }}

),

rejected_lines as (

    select * from {{ ref('stg_ledger__rejected_lines') }}

),

batches as (

    select * from {{ ref('stg_ledger__batches') }}

),

rejected as (

    select
        rejected_values.feed,
        rejected_values.entity,
        rejected_values.severity,
        rejected_values.column_name,
        rejected_values.delivered_value,
        rejected_values.reason,
        batches.file_path,
        rejected_values._row_id - batches.first_row_id + 1 as line_number,
        rejected_values._batch_id,
        rejected_values._row_id
    from rejected_values
    inner join batches
        on rejected_values._batch_id = batches.batch_id
    where rejected_values._batch_id > {{ watermark() }}

    union all

    -- Lines that the loader could not take for rows: they have no raw row.
    select
        batches.feed,
        batches.entity,
        'row' as severity,
        null as column_name,
        rejected_lines.delivered_line as delivered_value,
        rejected_lines.reason,
        batches.file_path,
        rejected_lines.line_number,
        rejected_lines._batch_id,
        null as _row_id
    from rejected_lines
    inner join batches
        on rejected_lines._batch_id = batches.batch_id
    where rejected_lines._batch_id > {{ watermark() }}

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

        -- provenance
        file_path,
        line_number,
        _batch_id,
        _row_id

    from rejected

)

select * from final
