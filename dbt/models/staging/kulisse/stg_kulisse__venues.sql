with

source as (

    {{ safe_rows('kulisse', 'venues') }}

),

renamed as (

    select
        -- ids
        venue_id,

        -- text
        venue_name,
        city,
        upper(country) as country_code,

        -- numerics
        capacity,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
