-- The periods of an asset have no gaps or overlaps, and only the last one has not ended.

with

ranges as (

    select
        asset_id,
        valid_from,
        valid_to,
        lead(valid_from) over (partition by asset_id order by valid_from) as next_valid_from
    from {{ ref('dim_asset_history') }}

)

select * from ranges
where
    valid_to <= valid_from
    or valid_to is distinct from next_valid_from
