-- Rebuilt in full: a change to the overrides may change any day.
with

delivered_merges as (

    select * from {{ ref('int_tickets__identity_merges') }}

),

overrides as (

    select * from {{ ref('identity_overrides') }}

),

final as (

    select
        -- numerics
        count(*) as merge_count,
        count(overrides.from_customer_id) as ignored_merge_count,
        count(case when delivered_merges.from_customer_id = delivered_merges.to_customer_id then 1 end) as self_merge_count,

        -- timestamps
        cast(delivered_merges.merged_at as date) as merge_date

    from delivered_merges
    left join overrides
        on
            delivered_merges.from_customer_id = overrides.from_customer_id
            and delivered_merges.to_customer_id = overrides.to_customer_id
    group by cast(delivered_merges.merged_at as date)

)

select * from final
