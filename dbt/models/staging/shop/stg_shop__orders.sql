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

-- A return or an adjustment is an event of its day. The sale of a product is one line, whatever its day.
keyed as (

    select
        *,
        case
            when line_id is not null then concat('line ', line_id)
            when is_return then concat('return of ', product_id, ' on ', cast(order_date as {{ dbt.type_string() }}))
            when unit_price_usd < 0 then concat('adjustment of ', product_id, ' on ', cast(order_date as {{ dbt.type_string() }}))
            else concat('sale of ', product_id)
        end as line_key,
        case
            when line_id is null
                then {{ dbt_utils.generate_surrogate_key(
                    ['customer_id', 'line_status', 'quantity', 'unit_price_usd', 'discount_usd', 'order_date']
                ) }}
        end as line_content
    from renamed

)

select * from keyed
