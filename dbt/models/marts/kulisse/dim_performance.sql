with

performances as (

    select * from {{ ref('int_kulisse__performances') }}

),

events as (

    select * from {{ ref('int_kulisse__events') }}

),

venues as (

    select * from {{ ref('int_kulisse__venues') }}

),

final as (

    select
        -- ids
        performances.performance_id,
        performances.event_id,
        performances.venue_id,

        -- text
        events.event_title,
        events.genre,
        venues.venue_name,
        venues.city,
        venues.country_code,

        -- numerics
        venues.capacity,

        -- timestamps
        performances.starts_at,

        -- provenance
        performances._batch_id,
        performances._row_id

    from performances
    left join events
        on performances.event_id = events.event_id
    left join venues
        on performances.venue_id = venues.venue_id

)

select * from final
