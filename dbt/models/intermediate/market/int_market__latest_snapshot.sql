{{ config(materialized='view') }}

with

latest as (

    select max(snapshot_at) as snapshot_at from {{ ref('int_market__snapshot_coverage') }}
    where is_market

),

final as (

    select snapshots.*
    from {{ ref('int_market__snapshots') }} as snapshots
    inner join latest
        on snapshots.snapshot_at = latest.snapshot_at

)

select * from final
