{{ config(
    materialized='incremental',
    unique_key='rejection_id',
    indexes=[
        {'columns': ['delivered_key']},
        {'columns': ['_batch_id']},
    ],
) }}

with

rejections as (

    select * from {{ ref('int_quality__rejections') }}
    where
        _batch_id > {{ watermark() }}
        and reason <> 'replaced_batch'

),

delivered_keys as (

    select * from {{ ref('int_quality__delivered_keys') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        rejections.rejection_id,
        rejections.feed,
        rejections.entity,
        delivered_keys.delivered_key,

        -- text
        rejections.severity,
        rejections.column_name,

        -- provenance
        rejections._batch_id,
        rejections._row_id

    from rejections
    inner join delivered_keys
        on
            rejections._batch_id = delivered_keys._batch_id
            and rejections._row_id = delivered_keys._row_id

)

select * from final
