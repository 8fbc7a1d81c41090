{{ config(
    materialized='incremental',
    unique_key='rejection_id',
    indexes=[
        {'columns': ['rejection_id'], 'unique': true},
        {'columns': ['feed', 'entity', 'severity']},
        {'columns': ['_batch_id']},
    ],
) }}

with

rejections as (

    select * from {{ ref('int_quality__rejections') }}
    where
        severity is not null
        and _batch_id > {{ watermark() }}

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

    from rejections

)

select * from final
