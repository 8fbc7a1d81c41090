-- The seed is joined here rather than in the fact, so that a new spelling does not require the page views to be rebuilt.
with

page_types as (

    select * from {{ ref('page_types') }}

),

final as (

    select
        -- ids
        page_type,

        -- text
        page_type_name,
        funnel_step

    from page_types

)

select * from final
