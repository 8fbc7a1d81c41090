-- Rebuilt in full from all snapshots: a late snapshot may split a period, and a change to the segment bounds may move any of
-- them.
{{ config(
    indexes=[{'columns': ['market_segment']}],
) }}

with

snapshots as (

    select * from {{ ref('int_market__snapshots') }}

),

segments as (

    select * from {{ ref('market_cap_segments') }}

),

labelled as (

    select
        snapshots.asset_id,
        snapshots.symbol,
        snapshots.asset_name,
        segments.market_segment,
        snapshots.snapshot_at,
        snapshots._batch_id,
        snapshots._row_id
    from snapshots
    inner join segments
        on {{ is_in_segment('snapshots.market_cap_rank', 'segments') }}

),

compared as (

    select
        *,
        lag(snapshot_at) over (partition by asset_id order by snapshot_at) as previous_snapshot_at,
        lag(symbol) over (partition by asset_id order by snapshot_at) as previous_symbol,
        lag(asset_name) over (partition by asset_id order by snapshot_at) as previous_asset_name,
        lag(market_segment) over (partition by asset_id order by snapshot_at) as previous_market_segment
    from labelled

),

changes as (

    select * from compared
    where
        previous_snapshot_at is null
        or symbol is distinct from previous_symbol
        or asset_name is distinct from previous_asset_name
        or market_segment <> previous_market_segment

),

-- Values stay valid until a snapshot has different ones, even while the asset is missing from the snapshots.
ranges as (

    select
        *,
        lead(snapshot_at) over (partition by asset_id order by snapshot_at) as valid_to
    from changes

),

final as (

    select
        -- ids
        asset_id,

        -- text
        symbol,
        asset_name,
        market_segment,

        -- booleans
        valid_to is null as is_current,

        -- timestamps
        snapshot_at as valid_from,
        valid_to,

        -- provenance
        _batch_id,
        _row_id

    from ranges

)

select * from final
