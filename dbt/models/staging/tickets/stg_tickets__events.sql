with

source as (

    {{ safe_rows('tickets', 'events') }}

),

renamed as (

    select
        -- ids
        event_id,

        -- text
        name as event_name,
        slug as event_slug,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
