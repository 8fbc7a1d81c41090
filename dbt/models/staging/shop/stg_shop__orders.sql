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
        -- A discount is an amount, or a share of the line.
        cast(
            case
                when right(discount, 1) = '%'
                    then round(abs(quantity * unit_price) * cast(replace(discount, '%', '') as numeric(18, 2)) / 100, 2)
                else cast(discount as numeric(18, 2))
            end as numeric(18, 2)
        ) as discount_usd,

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
