{{ config(
    materialized='incremental',
    unique_key='transaction_id',
    indexes=[{'columns': ['order_id']}],
) }}

with

transactions as (

    select * from {{ ref('int_tickets__transaction_versions') }}
    where
        is_current
        and _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        transaction_id,
        order_id,

        -- numerics
        amount_usd,

        -- timestamps
        occurred_at,

        -- provenance
        _batch_id,
        _row_id

    from transactions

)

select * from final
