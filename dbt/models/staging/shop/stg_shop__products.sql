with

source as (

    {{ safe_rows('shop', 'products') }}

),

renamed as (

    select
        -- ids
        product_id,

        -- text
        name as product_name,
        category,

        -- numerics
        unit_price as unit_price_usd,
        unit_cost as unit_cost_usd,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
