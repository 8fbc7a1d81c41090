-- Rebuilt in full: a snapshot may be delivered late, and there are few of them.
with

snapshots as (

    select * from {{ ref('int_market__snapshots') }}

),

-- All rows of a snapshot say the same about the request; those of files that say nothing about it, such as older ones, count as a
-- whole market. Where the request is known, only a snapshot that says so is whole.
counted as (

    select
        snapshot_at,
        max(request_scope) as request_scope,
        max(requested_count) as requested_count,
        count(*) as asset_count,
        count(
            case when not coalesce(is_whole, request_scope is null) or request_scope <> 'top' then 1 end
        ) = 0 as is_complete
    from snapshots
    group by snapshot_at

),

compared as (

    select
        *,
        max(case when is_complete then asset_count end) over (
            order by snapshot_at range between interval '7 days' preceding and current row
        ) as widest_asset_count
    from counted

),

-- The largest ten coins aren't the market either if it was seen three hundred deep in the same week. A snapshot that is somewhat
-- smaller is, because a coin may be missing, and people change their mind about --top.
final as (

    select
        -- text
        request_scope,

        -- numerics
        requested_count,
        asset_count,
        widest_asset_count,

        -- booleans
        is_complete,
        is_complete and 2 * asset_count >= widest_asset_count as is_market,

        -- timestamps
        snapshot_at

    from compared

)

select * from final
