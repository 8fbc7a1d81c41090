-- Rebuilt in full: there are few showtimes compared with the facts.
{{ config(
    indexes=[{'columns': ['event_id']}],
) }}

with

showtimes as (

    select * from {{ ref('int_tickets__showtime_versions') }}
    where is_current

),

final as (

    select
        -- ids
        showtime_id,
        event_id,

        -- timestamps
        starts_at,

        -- provenance
        _batch_id,
        _row_id

    from showtimes

)

select * from final
