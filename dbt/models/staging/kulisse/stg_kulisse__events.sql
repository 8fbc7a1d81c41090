with

source as (

    {{ safe_rows('kulisse', 'events') }}

),

renamed as (

    select
        -- ids
        event_id,

        -- text
        title as event_title,
        genre,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
