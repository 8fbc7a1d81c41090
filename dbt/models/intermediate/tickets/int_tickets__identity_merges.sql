-- A table, so that merges are parsed once and int_identity__latest_merges can look them up by either customer.
{{ config(
    materialized='incremental',
    unique_key='_row_id',
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['from_customer_id']},
        {'columns': ['to_customer_id']},
        {'columns': ['_batch_id']},
    ],
    post_hook='{{ analyze() }}',
) }}

with

new_merges as (

    select * from {{ ref('stg_tickets__identity_merges') }}
    where _batch_id > {{ watermark() }}

),

final as (

    select
        -- ids
        from_customer_id,
        to_customer_id,

        -- timestamps
        merged_at,

        -- provenance
        _batch_id,
        _row_id

    from new_merges

)

select * from final
