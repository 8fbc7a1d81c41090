with

latest_snapshot as (

    select * from {{ ref('int_market__latest_snapshot') }}

),

coverage as (

    select * from {{ ref('int_market__snapshot_coverage') }}

),

final as (

    select
        -- numerics
        count(*) as asset_count,
        max(requested_count) as requested_count,
        cast(round(coalesce(sum(market_cap_usd), 0), 2) as numeric(38, 2)) as market_cap_usd,
        cast(round(coalesce(sum(total_volume_usd), 0), 2) as numeric(38, 2)) as total_volume_usd,
        {{ average('change_24h_pct', 6) }} as average_change_24h_pct,
        count(case when change_24h_pct > 0 then 1 end) as gainer_count,
        count(case when change_24h_pct < 0 then 1 end) as loser_count,

        -- timestamps
        max(snapshot_at) as snapshot_at,
        (select max(coverage.snapshot_at) from coverage) as newest_snapshot_at

    from latest_snapshot
    -- Before the first snapshot of the market there is nothing to summarize.
    having count(*) > 0

)

select * from final
