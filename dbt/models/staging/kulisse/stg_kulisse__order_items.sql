with

source as (

    {{ safe_rows('kulisse', 'order_items') }}

),

renamed as (

    select
        -- ids
        item_id,
        order_id,
        performance_id,

        -- text
        item_type,

        -- numerics
        quantity,
        amount,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
