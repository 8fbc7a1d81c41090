{{ config(
    indexes=[{'columns': ['leaderboard_rank'], 'unique': true}],
) }}

with

latest_snapshot as (

    select * from {{ ref('int_market__latest_snapshot') }}

),

measured as (

    select
        *,
        {{ ratio('total_volume_usd', 'market_cap_usd', 6) }} as volume_to_market_cap
    from latest_snapshot

),

-- Assets without a market cap come last. Ties go to the id that sorts first.
ranked as (

    select
        *,
        row_number() over (
            order by coalesce(market_cap_usd, -1) desc, {{ binary_order('asset_id') }}
        ) as leaderboard_rank,
        sum(market_cap_usd) over () as snapshot_market_cap_usd
    from measured

),

final as (

    select
        -- ids
        asset_id,

        -- text
        symbol,
        asset_name,
        case
            when change_24h_pct > 10 then 'strong_gain'
            when change_24h_pct > 0 then 'moderate_gain'
            when change_24h_pct > -10 then 'moderate_loss'
            when change_24h_pct <= -10 then 'strong_loss'
        end as price_trend,
        case
            when volume_to_market_cap > 0.5 then 'high_liquidity'
            when volume_to_market_cap > 0.1 then 'medium_liquidity'
            when volume_to_market_cap is not null then 'low_liquidity'
        end as liquidity,

        -- numerics
        cast(leaderboard_rank as bigint) as leaderboard_rank,
        market_cap_rank,
        price_usd,
        cast(round(market_cap_usd, 2) as numeric(38, 2)) as market_cap_usd,
        cast(round(total_volume_usd, 2) as numeric(38, 2)) as total_volume_usd,
        cast(100 * {{ ratio('market_cap_usd', 'snapshot_market_cap_usd', 8) }} as numeric(38, 6)) as market_dominance_pct,
        cast(round(change_24h_pct, 6) as numeric(38, 6)) as change_24h_pct,
        cast(100 * {{ ratio('high_24h_usd', 'low_24h_usd', 8) }} - 100 as numeric(38, 6)) as price_range_24h_pct,
        cast(100 * {{ ratio('price_usd', 'ath_usd', 8) }} - 100 as numeric(38, 6)) as distance_from_ath_pct,
        volume_to_market_cap,

        -- timestamps
        snapshot_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where leaderboard_rank <= 50

)

select * from final
