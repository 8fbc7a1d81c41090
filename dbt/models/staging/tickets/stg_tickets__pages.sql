with

source as (

    {{ safe_rows('tickets', 'pages') }}

),

renamed as (

    select
        -- ids
        page_id,
        account_id,
        customer_id,
        event_id,
        showtime_id,

        -- text
        page_type,

        -- timestamps
        occurred_at as viewed_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
