{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_customers as (

    select * from {{ ref('stg_shop__customers') }}
    where _batch_id > {{ watermark() }}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so the order is total. A new row is always later than
-- what is here already, so what is here need not be looked at.
ranked as (

    select
        *,
        row_number() over (partition by customer_id order by _batch_id desc, _row_id desc) as version_rank
    from new_customers

),

current_versions as (

    select
        -- ids
        customer_id,

        -- text
        customer_name,
        email,
        country_code,

        -- timestamps
        signup_date,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where version_rank = 1

)

select * from current_versions
