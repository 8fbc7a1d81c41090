{{ config(
    materialized='incremental',
    unique_key=['_batch_id', 'feed', 'measure'],
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
        delivered_amounts.feed,
        delivered_amounts.entity,
        delivered_amounts.measure,

        -- numerics
        cast(coalesce(sum(abs(delivered_amounts.amount_usd)), 0) as numeric(38, 2)) as delivered_usd,
        cast(coalesce(sum(
            case when rejected_rows._row_id is not null then abs(delivered_amounts.amount_usd) end
        ), 0) as numeric(38, 2)) as rejected_usd,

        -- provenance
        delivered_amounts._batch_id

    from delivered_amounts
    left join rejected_rows
        on delivered_amounts._row_id = rejected_rows._row_id
    group by
        delivered_amounts.feed,
        delivered_amounts.entity,
        delivered_amounts.measure,
        delivered_amounts._batch_id

)

select * from final
