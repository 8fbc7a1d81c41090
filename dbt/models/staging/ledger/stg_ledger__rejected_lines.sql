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
        -- A line that was rejected before there were codes has its sentence there.
        coalesce(explanation, reason) as explanation,

        -- numerics
        line_number

    from source

)

select * from renamed
