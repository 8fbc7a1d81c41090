-- Rebuilt in full: any later batch may heal a rejection, and a batch may be accepted at any time.
{{ config(
    indexes=[
        {'columns': ['feed', 'entity', 'severity']},
        {'columns': ['_batch_id']},
    ],
) }}

with

rejections as (

    select * from {{ ref('int_quality__rejections') }}

),

replayed_values as (

    select * from {{ ref('stg_ledger__replayed_values') }}

),

healed_rejections as (

    select * from {{ ref('int_quality__healed_rejections') }}

),

batches as (

    select * from {{ ref('stg_ledger__batches') }}

),

accepted_batches as (

    select * from {{ ref('stg_ledger__accepted_batches') }}

),

-- A value that the rules of today reject again is not replayed, and neither is one of a replaced batch.
replayed as (

    select replayed_values.*
    from replayed_values
    inner join batches
        on replayed_values._batch_id = batches.batch_id
    left join rejections
        on replayed_values.rejection_id = rejections.rejection_id
    where
        rejections.rejection_id is null
        and batches.status = 'loaded'

),

with_state as (

    select
        rejections.rejection_id,
        rejections.feed,
        rejections.entity,
        case
            when coalesce(batches.replaced_by_batch_id, healed_rejections.healed_by_batch_id) is not null then 'healed'
            when accepted_batches.batch_id is not null then 'accepted'
            else 'open'
        end as state,
        rejections.severity,
        rejections.column_name,
        rejections.delivered_value,
        rejections.reason,
        rejections.explanation,
        coalesce(batches.replaced_by_batch_id, healed_rejections.healed_by_batch_id) as healed_by_batch_id,
        rejections.file_path,
        rejections.line_number,
        rejections._batch_id,
        rejections._row_id
    from rejections
    inner join batches
        on rejections._batch_id = batches.batch_id
    left join healed_rejections
        on rejections.rejection_id = healed_rejections.rejection_id
    left join accepted_batches
        on rejections._batch_id = accepted_batches.batch_id

    union all

    select
        rejection_id,
        feed,
        entity,
        'replayed' as state,
        severity,
        column_name,
        delivered_value,
        reason,
        explanation,
        null as healed_by_batch_id,
        file_path,
        line_number,
        _batch_id,
        _row_id
    from replayed

),

final as (

    select
        -- ids
        rejection_id,
        feed,
        entity,

        -- text
        state,
        severity,
        column_name,
        delivered_value,
        reason,
        explanation,

        -- provenance
        healed_by_batch_id,
        file_path,
        line_number,
        _batch_id,
        _row_id

    from with_state

)

select * from final
