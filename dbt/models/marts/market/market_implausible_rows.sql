{{ config(
    materialized='incremental',
    unique_key=['entity', '_row_id'],
) }}

with

snapshots as (

    select * from {{ ref('stg_market__coin_markets_snapshot') }}
    where
        is_dated_after_delivery
        and _batch_id > {{ watermark() }}

),

prices as (

    select * from {{ ref('stg_market__coin_price_history') }}
    where
        is_dated_after_delivery
        and _batch_id > {{ watermark() }}

),

batches as (

    select * from {{ ref('stg_ledger__batches') }}

),

implausible as (

    select
        'coin_markets_snapshot' as entity,
        asset_id,
        snapshot_at as dated_at,
        _batch_id,
        _row_id
    from snapshots

    union all

    select
        'coin_price_history' as entity,
        asset_id,
        priced_at as dated_at,
        _batch_id,
        _row_id
    from prices

),

final as (

    select
        -- ids
        implausible.entity,
        implausible.asset_id,

        -- timestamps
        implausible.dated_at,
        batches.finished_at as delivered_at,

        -- provenance
        batches.file_path,
        implausible._row_id - batches.first_row_id + 1 as line_number,
        implausible._batch_id,
        implausible._row_id

    from implausible
    inner join batches
        on implausible._batch_id = batches.batch_id

)

select * from final
