with

source as (

    {{ safe_rows('shop', 'customers') }}

),

renamed as (

    select
        -- ids
        customer_id,

        -- text
        name as customer_name,
        email,
        upper(country) as country_code,

        -- timestamps
        signup_date,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
