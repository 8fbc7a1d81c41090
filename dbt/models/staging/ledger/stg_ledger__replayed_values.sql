with

source as (

    select * from {{ source('ledger', '_replayed_values') }}

),

renamed as (

    select
        -- ids
        rejection_id,
        feed,
        entity,

        -- text
        severity,
        column_name,
        delivered_value,
        reason,
        explanation,
        file_path,

        -- numerics
        line_number,

        -- timestamps
        replayed_at,

        -- provenance
        batch_id as _batch_id,
        row_id as _row_id

    from source

)

select * from renamed
