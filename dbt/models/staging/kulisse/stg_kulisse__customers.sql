with

source as (

    {{ safe_rows('kulisse', 'customers') }}

),

renamed as (

    select
        -- ids
        customer_id,

        -- text
        email,
        full_name as customer_name,
        upper(country) as country_code,

        -- timestamps
        registered_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
