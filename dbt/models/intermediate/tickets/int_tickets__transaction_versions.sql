{{ config(
    materialized='incremental',
    unique_key='transaction_id',
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['transaction_id']},
        {'columns': ['order_id']},
        {'columns': ['is_current']},
        {'columns': ['_batch_id']},
        {'columns': ['superseded_by_batch_id']},
    ],
) }}

with

new_transactions as (

    select * from {{ ref('stg_tickets__transactions') }}
    where _batch_id > {{ watermark() }}

),

-- A new version supersedes the one before it, so all versions of a delivered transaction are rewritten.
all_versions as (

    select
        transaction_id,
        order_id,
        amount_usd,
        occurred_at,
        _batch_id,
        _row_id
    from new_transactions

    {% if is_incremental() %}

    union all

    select
        transaction_id,
        order_id,
        amount_usd,
        occurred_at,
        _batch_id,
        _row_id
    from {{ this }}
    where transaction_id in (select new_transactions.transaction_id from new_transactions)

    {% endif %}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so there are no ties.
ranked as (

    select
        *,
        lead(_batch_id) over (partition by transaction_id order by _batch_id, _row_id) as superseded_by_batch_id
    from all_versions

),

final as (

    select
        -- ids
        transaction_id,
        order_id,

        -- numerics
        amount_usd,

        -- booleans
        superseded_by_batch_id is null as is_current,

        -- timestamps
        occurred_at,

        -- provenance
        superseded_by_batch_id,
        _batch_id,
        _row_id

    from ranked

)

select * from final
