with

source as (

    select * from {{ source('ledger', '_batches') }}

),

renamed as (

    select
        -- ids
        batch_id,
        replaced_by_batch_id,
        first_row_id,

        -- text
        feed,
        entity,
        brand,
        path as file_path,
        sha256,
        status,
        error,
        columns as delivered_columns,
        missing_columns,
        extra_columns,

        -- numerics
        bytes as file_bytes,
        rows_read as rows_read_count,
        rows_loaded as rows_loaded_count,
        rows_rejected as lines_rejected_count,
        extra_values as extra_value_count,

        -- timestamps
        started_at,
        finished_at

    from source

)

select * from renamed
