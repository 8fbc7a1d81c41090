{{ config(
    materialized='incremental',
    unique_key=['_row_id', 'measure'],
) }}

with

delivered_amounts as (

    select * from {{ ref('int_quality__delivered_amounts') }}
    where _batch_id > {{ watermark() }}

),

rejected_rows as (

    select distinct _row_id from {{ ref('int_quality__rejections') }}
    where
        _batch_id > {{ watermark() }}
        and severity = 'row'

),

final as (

    select
        -- ids
        delivered_amounts.feed,
        delivered_amounts.measure,

        -- numerics
        delivered_amounts.amount_usd,

        -- provenance
        delivered_amounts._batch_id,
        delivered_amounts._row_id

    from delivered_amounts
    inner join rejected_rows
        on delivered_amounts._row_id = rejected_rows._row_id

)

select * from final
