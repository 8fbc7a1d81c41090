{{ config(
    materialized='incremental',
    unique_key=['_batch_id', 'feed', 'measure'],
) }}

with

delivered_amounts as (

    select * from {{ ref('int_quality__delivered_amounts') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        feed,
        entity,
        measure,

        -- numerics
        cast(coalesce(sum(amount_usd), 0) as numeric(38, 4)) as amount_usd,
        -- Without signs, returns don't hide the sales that were delivered with them.
        cast(coalesce(sum(abs(amount_usd)), 0) as numeric(38, 2)) as absolute_amount_usd,
        count(*) as row_count,
        count(*) - count(amount_usd) as rows_without_amount_count,

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
