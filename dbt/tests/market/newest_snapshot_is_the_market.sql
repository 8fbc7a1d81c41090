-- The newest snapshot of the largest coins counts as the market, or else the leaderboard, the segments and the summary are older
-- than people may think. A request for given coins never counts, and doesn't warn.
{{ config(severity='warn') }}

with

snapshots as (

    select * from {{ ref('int_market__snapshot_coverage') }}

),

market as (

    select max(snapshot_at) as snapshot_at from snapshots
    where is_market

)

select
    snapshots.*,
    market.snapshot_at as market_snapshot_at
from snapshots
cross join market
where
    snapshots.request_scope is distinct from 'coins'
    and (snapshots.snapshot_at > market.snapshot_at or market.snapshot_at is null)
