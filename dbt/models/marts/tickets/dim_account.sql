{{ config(
    materialized='incremental',
    unique_key='account_id',
) }}

with

accounts as (

    select * from {{ ref('int_tickets__accounts') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        account_id,

        -- text
        email,

        -- timestamps
        created_at,

        -- provenance
        _batch_id,
        _row_id

    from accounts

)

select * from final
