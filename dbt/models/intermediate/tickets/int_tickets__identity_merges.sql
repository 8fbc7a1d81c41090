-- Parsed once: who is who is resolved from all merges at every build, and parsing them all again would cost more than that.
{{ config(
    unique_key='_row_id',
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
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
