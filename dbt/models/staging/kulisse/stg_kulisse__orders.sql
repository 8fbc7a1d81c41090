with

source as (

    {{ safe_rows('kulisse', 'orders') }}

),

renamed as (

    select
        -- ids
        order_id,
        customer_id,

        -- text
        currency,
        status as order_status,

        -- numerics
        total_amount,
        refunded_amount,

        -- timestamps
        ordered_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
