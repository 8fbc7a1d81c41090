-- Rebuilt in full: there are few assets, and a price may name one before a snapshot does.
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
