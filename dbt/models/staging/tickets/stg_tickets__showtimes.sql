with

source as (

    {{ safe_rows('tickets', 'showtimes') }}

),

renamed as (

    select
        -- ids
        showtime_id,
        event_id,

        -- timestamps
        start_at as starts_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
