with

source as (

    select * from {{ source('ledger', '_rejected_lines') }}

),

renamed as (

    select
        -- ids
        batch_id as _batch_id,

        -- text
        line as delivered_line,
        reason,
        explanation,

        -- numerics
        line_number

    from source

)

select * from renamed
