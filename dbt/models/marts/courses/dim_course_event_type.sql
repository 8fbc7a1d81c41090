-- The seed is joined here rather than in the fact, so that mapping a new type does not require the events to be rebuilt.
with

mapped_types as (

    select * from {{ ref('course_event_types') }}

),

event_types as (

    select event_type from mapped_types
    union
    select event_type from {{ ref('fct_course_events') }}

),

final as (

    select
        -- ids
        event_types.event_type,

        -- text
        coalesce(mapped_types.event_group, 'unmapped') as event_group,

        -- booleans
        coalesce(mapped_types.is_engagement, false) as is_engagement,
        coalesce(mapped_types.is_completion, false) as is_completion,
        mapped_types.event_type is not null as is_mapped

    from event_types
    left join mapped_types
        on event_types.event_type = mapped_types.event_type

)

select * from final
