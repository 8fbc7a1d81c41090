with

source as (

    {{ safe_rows('kulisse', 'sessions') }}

),

renamed as (

    select
        -- ids
        session_id,
        customer_id,
        order_id,

        -- text
        landing_page,

        -- timestamps
        started_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
