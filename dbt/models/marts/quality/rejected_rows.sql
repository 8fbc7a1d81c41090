{{ config(
    materialized='incremental',
    unique_key='rejection_id',
    indexes=[
        {'columns': ['feed', 'entity', 'severity']},
        {'columns': ['_batch_id']},
    ],
) }}

with

rejections as (

    select * from {{ ref('int_quality__rejections') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        rejection_id,
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

    from rejections

)

select * from final
