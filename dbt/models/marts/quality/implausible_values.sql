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

implausible_values as {{ materialized() }} (

    select * from {{ ref('stg_ledger__implausible_values') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        implausible_values.feed,
        implausible_values.entity,

        -- text
        implausible_values.column_name,
        implausible_values.kept_value,
        implausible_values.explanation,

        -- provenance
        new_batches.file_path,
        implausible_values._row_id - new_batches.first_row_id + 1 as line_number,
        implausible_values._batch_id,
        implausible_values._row_id

    from implausible_values
    inner join new_batches
        on implausible_values._batch_id = new_batches.batch_id

)

select * from final
