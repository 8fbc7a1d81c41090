-- Rebuilt in full: assets are few, and one may be known from its prices before a snapshot names it.
with

assets as (

    select * from {{ ref('int_market__assets') }}

),

asset_ids as (

    select asset_id from assets
    union
    select asset_id from {{ ref('int_market__daily_prices') }}

),

final as (

    select
        -- ids
        asset_ids.asset_id,

        -- text
        assets.symbol,
        assets.asset_name,

        -- booleans
        assets.asset_id is not null as is_delivered,

        -- timestamps
        assets.snapshot_at as last_snapshot_at,

        -- provenance
        assets._batch_id,
        assets._row_id

    from asset_ids
    left join assets
        on asset_ids.asset_id = assets.asset_id

)

select * from final
