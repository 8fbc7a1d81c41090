{{ config(
    materialized='incremental',
    unique_key='session_id',
) }}

with

sessions as (

    select * from {{ ref('int_kulisse__sessions') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        session_id,
        coalesce(customer_id, 'unknown') as customer_id,
        order_id,

        -- text
        landing_page,

        -- booleans
        order_id is not null as has_order,

        -- timestamps
        started_at,

        -- provenance
        _batch_id,
        _row_id

    from sessions

)

select * from final
