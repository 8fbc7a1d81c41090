-- Rebuilt in full: it is linear in the merges, which are few beside the facts, and overrides come and go without a batch.
{{ config(
    materialized='table',
    indexes=[
        {'columns': ['from_customer_id'], 'unique': true},
        {'columns': ['to_customer_id']},
    ],
    post_hook='analyze {{ this }}',
) }}

with

delivered as (

    select * from {{ ref('int_tickets__identity_merges') }}

),

overrides as (

    select * from {{ ref('identity_overrides') }}

),

-- A self-merge changes nothing, and a merge that people overrode is as if it had never been delivered.
effective as (

    select delivered.*
    from delivered
    left join overrides
        on
            delivered.from_customer_id = overrides.from_customer_id
            and delivered.to_customer_id = overrides.to_customer_id
    where
        overrides.from_customer_id is null
        and delivered.from_customer_id <> delivered.to_customer_id

),

-- The latest decision wins, whatever the order of arrival; at the same moment, the highest id. The delivery decides only
-- which of several equal rows is named as the source.
ranked as (

    select
        *,
        row_number() over (
            partition by from_customer_id
            order by merged_at desc, {{ binary_order('to_customer_id') }} desc, _batch_id desc, _row_id desc
        ) as decision_rank
    from effective

),

latest as (

    select
        -- ids
        from_customer_id,
        to_customer_id,

        -- numerics
        -- Within a cycle no two merges have the same target, so there this order is that of time and target alone.
        row_number() over (
            order by merged_at, {{ binary_order('to_customer_id') }}, {{ binary_order('from_customer_id') }}
        ) as merge_number,

        -- timestamps
        merged_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where decision_rank = 1

)

select * from latest
