with

source as (

    {{ safe_rows('tickets', 'accounts') }}

),

renamed as (

    select
        -- ids
        account_id,

        -- text
        email,

        -- timestamps
        created_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
