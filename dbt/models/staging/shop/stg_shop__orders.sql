with

source as (

    {{ safe_rows('shop', 'orders') }}

),

renamed as (

    select
        -- ids
        order_id,
        customer_id,
        product_id,

        -- text
        status as line_status,

        -- numerics
        quantity,
        unit_price as unit_price_usd,
        {{ discount_in_usd('discount', 'quantity', 'unit_price') }} as discount_usd,

        -- booleans
        quantity < 0 as is_return,

        -- timestamps
        order_date,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
