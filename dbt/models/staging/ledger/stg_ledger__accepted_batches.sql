with

source as (

    select * from {{ source('ledger', '_accepted_batches') }}

),

renamed as (

    select
        -- ids
        batch_id,

        -- text
        why,

        -- timestamps
        accepted_at

    from source

)

select * from renamed
