with

source as (

    {{ safe_rows('tickets', 'orders') }}

),

renamed as (

    select
        -- ids
        order_id,
        account_id,
        showtime_id,

        -- numerics
        total_amount as order_total_usd,

        -- timestamps
        created_at as ordered_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
