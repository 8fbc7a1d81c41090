{{ config(
    materialized='incremental',
    unique_key='transaction_id',
    indexes=[
        {'columns': ['order_id']},
        {'columns': ['is_order_delivered']},
    ],
) }}

-- The versions are not imported as CTEs, so that the joins can use their indexes.
with

{% if is_incremental() %}

-- Transactions that a new batch delivered, or that had to wait for their order until then.
changed_transactions as (

    select new_transactions.transaction_id
    from {{ ref('int_tickets__transaction_versions') }} as new_transactions
    where new_transactions._batch_id > {{ watermark() }}

    union

    select waiting.transaction_id
    from {{ ref('int_tickets__order_versions') }} as new_orders
    inner join {{ ref('int_tickets__transaction_versions') }} as waiting
        on new_orders.order_id = waiting.order_id
    where new_orders._batch_id > {{ watermark() }}

),

{% endif %}

current_transactions as (

    select versions.*
    from {{ ref('int_tickets__transaction_versions') }} as versions
    {% if is_incremental() %}
    inner join changed_transactions
        on versions.transaction_id = changed_transactions.transaction_id
    {% endif %}
    where versions.is_current

),

final as (

    select
        -- ids
        current_transactions.transaction_id,
        current_transactions.order_id,

        -- numerics
        current_transactions.amount_usd,

        -- booleans
        orders.order_id is not null as is_order_delivered,

        -- timestamps
        current_transactions.occurred_at,

        -- provenance
        current_transactions._batch_id,
        current_transactions._row_id

    from current_transactions
    left join {{ ref('int_tickets__order_versions') }} as orders
        on
            current_transactions.order_id = orders.order_id
            and orders.is_current

)

select * from final
