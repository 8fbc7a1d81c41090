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
        line_id,

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

),

keyed as (

    select
        *,
        {{ line_key('line_id', 'product_id', 'quantity', 'unit_price_usd', 'order_date') }} as line_key,
        case
            when line_id is null
                then {{ dbt_utils.generate_surrogate_key(
                    ['customer_id', 'line_status', 'quantity', 'unit_price_usd', 'discount_usd', 'order_date']
                ) }}
        end as line_content
    from renamed

)

select * from keyed
