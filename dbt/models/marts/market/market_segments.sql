with

latest_snapshot as (

    select * from {{ ref('int_market__latest_snapshot') }}

),

segments as (

    select * from {{ ref('market_cap_segments') }}

),

measured as (

    select
        *,
        100 * {{ ratio('high_24h_usd', 'low_24h_usd', 8) }} - 100 as price_range_24h_pct,
        {{ ratio('total_volume_usd', 'market_cap_usd', 6) }} as volume_to_market_cap
    from latest_snapshot

),

-- A segment has a row even without assets. Averages include only assets that have the value.
aggregated as (

    select
        segments.market_segment,
        count(measured.asset_id) as asset_count,
        sum(measured.market_cap_usd) as market_cap_usd,
        {{ average('measured.price_usd', 18) }} as average_price_usd,
        {{ average('measured.change_24h_pct', 18) }} as average_change_24h_pct,
        {{ average('measured.price_range_24h_pct', 18) }} as average_price_range_24h_pct,
        {{ average('measured.volume_to_market_cap', 18) }} as average_volume_to_market_cap,
        min(measured.market_cap_rank) as best_market_cap_rank,
        max(measured.market_cap_rank) as worst_market_cap_rank
    from segments
    left join measured
        on {{ is_in_segment('measured.market_cap_rank', 'segments') }}
    group by segments.market_segment

),

final as (

    select
        -- text
        market_segment,
        case
            when average_change_24h_pct >= 1 then 'bullish'
            when average_change_24h_pct <= -1 then 'bearish'
            when average_change_24h_pct is not null then 'neutral'
        end as sentiment,

        -- numerics
        asset_count,
        cast(round(coalesce(market_cap_usd, 0), 2) as numeric(38, 2)) as market_cap_usd,
        average_price_usd,
        cast(round(average_change_24h_pct, 6) as numeric(38, 6)) as average_change_24h_pct,
        cast(round(average_price_range_24h_pct, 6) as numeric(38, 6)) as average_price_range_24h_pct,
        cast(round(average_volume_to_market_cap, 6) as numeric(38, 6)) as average_volume_to_market_cap,
        best_market_cap_rank,
        worst_market_cap_rank,

        -- timestamps
        (select max(latest_snapshot.snapshot_at) from latest_snapshot) as snapshot_at

    from aggregated

)

select * from final
