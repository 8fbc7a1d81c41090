with

source as (

    {{ safe_rows('tickets', 'identity_merges') }}

),

renamed as (

    select
        -- ids
        from_customer_id,
        to_customer_id,

        -- timestamps
        merged_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
