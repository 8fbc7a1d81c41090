-- The seed is applied here and not in the fact, so that a new spelling needs no rebuild of the page views.
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
