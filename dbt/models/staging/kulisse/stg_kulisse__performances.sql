with

source as (

    {{ safe_rows('kulisse', 'performances') }}

),

renamed as (

    select
        -- ids
        performance_id,
        event_id,
        venue_id,

        -- text
        utc_offset_minutes,

        -- timestamps
        starts_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
