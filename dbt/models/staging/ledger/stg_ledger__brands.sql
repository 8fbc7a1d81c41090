with

source as (

    select * from {{ source('ledger', '_brands') }}

),

renamed as (

    select
        -- ids
        feed,
        entity,
        brand,
        kind as place_kind,
        place,

        -- text
        error,

        -- timestamps
        found_at,
        gone_at

    from source

)

select * from renamed
