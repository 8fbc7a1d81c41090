{{ config(
    materialized='incremental',
    unique_key='customer_id',
    indexes=[
        {'columns': ['customer_id'], 'unique': true},
        {'columns': ['absorbed_by_customer_id']},
        {'columns': ['has_ignored_merge']},
        {'columns': ['_changed_batch_id']},
    ],
    post_hook='{{ analyze() }}',
) }}

-- The joins reference the table of merges directly rather than a CTE, so that they can use its indexes.
with

overrides as (

    select * from {{ ref('identity_overrides') }}

),

{% if is_incremental() %}

-- Customers for whom another merge may win now: they have a new merge, an ignored merge, or one that was ignored when this table
-- was last built. Overrides have no batches, so a removed override is recognized only by the stored `has_ignored_merge`.
with_changed_merges as (

    select new_merges.from_customer_id as customer_id
    from {{ ref('int_tickets__identity_merges') }} as new_merges
    where new_merges._batch_id > {{ watermark() }}

    union

    select overrides.from_customer_id as customer_id
    from overrides

    union

    select known.customer_id
    from {{ this }} as known
    where known.has_ignored_merge

),

changed_customers as (

    select with_changed_merges.customer_id
    from with_changed_merges

    union

    select delivered.to_customer_id as customer_id
    from with_changed_merges
    inner join {{ ref('int_tickets__identity_merges') }} as delivered
        on with_changed_merges.customer_id = delivered.from_customer_id

),

-- The columns of a customer depend on its own merges and on all merges of customers that were ever merged into it.
needed_customers as (

    select changed_customers.customer_id
    from changed_customers

    union

    select delivered.from_customer_id as customer_id
    from changed_customers
    inner join {{ ref('int_tickets__identity_merges') }} as delivered
        on changed_customers.customer_id = delivered.to_customer_id

),

{% endif %}

needed_merges as (

    select
        delivered.*,
        overrides.from_customer_id is not null as is_ignored
    from {{ ref('int_tickets__identity_merges') }} as delivered
    {% if is_incremental() %}
    inner join needed_customers
        on delivered.from_customer_id = needed_customers.customer_id
    {% endif %}
    left join overrides
        on
            delivered.from_customer_id = overrides.from_customer_id
            and delivered.to_customer_id = overrides.to_customer_id

),

-- The latest decision wins, whatever the order of arrival; among decisions at the same time, the highest id wins. Batch and row
-- only determine which of several equal rows is recorded as the source. A self-merge changes nothing, and an overridden merge is
-- treated as if it had never been delivered.
ranked as (

    select
        *,
        row_number() over (
            partition by from_customer_id
            order by merged_at desc, {{ binary_order('to_customer_id') }} desc, _batch_id desc, _row_id desc
        ) as decision_rank
    from needed_merges
    where
        not is_ignored
        and from_customer_id <> to_customer_id

),

absorbed as (

    select
        from_customer_id,
        {{ dbt.bool_or('is_ignored') }} as has_ignored_merge,
        max(_batch_id) as _changed_batch_id
    from needed_merges
    group by from_customer_id

),

-- A merge changes every customer into which its customer was ever merged: the group that the customer enters and the one that it
-- leaves.
merged as (

    select
        from_customer_id as customer_id,
        has_ignored_merge,
        _changed_batch_id
    from absorbed

    union all

    select
        needed_merges.to_customer_id as customer_id,
        absorbed.has_ignored_merge,
        absorbed._changed_batch_id
    from needed_merges
    inner join absorbed
        on needed_merges.from_customer_id = absorbed.from_customer_id

),

customers as (

    select
        merged.customer_id,
        {{ dbt.bool_or('merged.has_ignored_merge') }} as has_ignored_merge,
        max(merged._changed_batch_id) as _changed_batch_id
    from merged
    {% if is_incremental() %}
    inner join changed_customers
        on merged.customer_id = changed_customers.customer_id
    {% endif %}
    group by merged.customer_id

),

-- Customers without an applicable merge are included: other customers may be merged into them.
final as (

    select
        -- ids
        customers.customer_id,
        latest.to_customer_id as absorbed_by_customer_id,

        -- booleans
        customers.has_ignored_merge,

        -- timestamps
        latest.merged_at as absorbed_at,

        -- provenance
        latest._batch_id as merge_batch_id,
        latest._row_id as merge_row_id,
        customers._changed_batch_id

    from customers
    left join ranked as latest
        on
            customers.customer_id = latest.from_customer_id
            and latest.decision_rank = 1

)

select * from final
