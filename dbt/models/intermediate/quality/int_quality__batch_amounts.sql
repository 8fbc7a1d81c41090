{{ config(
    materialized='incremental',
    unique_key=['_batch_id', 'feed', 'measure'],
) }}

with

delivered_amounts as (

    select * from {{ ref('int_quality__delivered_amounts') }}
    where _batch_id > {{ watermark() }}

),

-- Without signs, because returns would hide the sales that were delivered with them.
final as (

    select
        -- ids
        feed,
        entity,
        measure,

        -- numerics
        cast(coalesce(sum(abs(amount_usd)), 0) as numeric(38, 2)) as delivered_usd,

        -- provenance
        _batch_id

    from delivered_amounts
    group by
        feed,
        entity,
        measure,
        _batch_id

)

select * from final
