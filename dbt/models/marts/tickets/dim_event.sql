-- Rebuilt in full: there are few events, and a showtime may name one before it is delivered itself.
with

events as (

    select * from {{ ref('int_tickets__events') }}

),

showtimes as (

    select * from {{ ref('int_tickets__showtime_versions') }}
    where is_current

),

event_ids as (

    select event_id from events
    union
    select event_id from showtimes
    union
    select 'unknown' as event_id

),

final as (

    select
        -- ids
        event_ids.event_id,

        -- text
        events.event_name,
        events.event_slug,

        -- booleans
        events.event_id is not null as is_delivered,

        -- provenance
        events._batch_id,
        events._row_id

    from event_ids
    left join events
        on event_ids.event_id = events.event_id

)

select * from final
