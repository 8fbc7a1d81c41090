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

-- Without signs, because returns would hide the sales that were rejected with them.
final as (

    select
        -- ids
        delivered_amounts.measure,

        -- numerics
        abs(delivered_amounts.amount_usd) as amount_usd,

        -- provenance
        delivered_amounts._batch_id,
        delivered_amounts._row_id

    from delivered_amounts
    inner join rejected_rows
        on delivered_amounts._row_id = rejected_rows._row_id
    where delivered_amounts.amount_usd is not null

)

select * from final
