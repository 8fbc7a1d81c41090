with

source as (

    {{ safe_rows('tickets', 'transactions') }}

),

renamed as (

    select
        -- ids
        transaction_id,
        order_id,

        -- numerics
        amount as amount_usd,

        -- timestamps
        occurred_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
