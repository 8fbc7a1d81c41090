-- The seed is joined here rather than in the fact, so that a new spelling does not require the page views to be rebuilt.
with

mapped_types as (

    select * from {{ ref('page_types') }}

),

page_types as (

    select page_type from mapped_types
    union
    select page_type from {{ ref('fct_page_views') }}
    where page_type is not null

),

final as (

    select
        -- ids
        page_types.page_type,

        -- text
        coalesce(mapped_types.page_type_name, 'unmapped') as page_type_name,
        coalesce(mapped_types.funnel_step, 'unmapped') as funnel_step,

        -- booleans
        mapped_types.page_type is not null as is_mapped

    from page_types
    left join mapped_types
        on page_types.page_type = mapped_types.page_type

)

select * from final
