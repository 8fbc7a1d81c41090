with

source as (

    select * from {{ source('ledger', '_replayed_values') }}

),

batches as (

    select * from {{ source('ledger', '_batches') }}

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
    -- An engine that reads the lake keeps its own; those of another ledger are older than the batch that has their number now.
    where
        exists (
            select 1 from batches
            where
                source.batch_id = batches.batch_id
                and source.replayed_at >= batches.finished_at
        )

)

select * from renamed
