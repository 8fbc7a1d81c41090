{{ config(
    materialized='incremental',
    unique_key='rejection_id',
) }}

with

rejected_keys as (

    select * from {{ ref('int_quality__rejected_keys') }}

    {% if is_incremental() %}

    -- Batches above the watermark may be read twice, and the first batch that healed a rejection stays.
    where
        rejection_id not in (
            select healed.rejection_id from {{ this }} as healed
            where healed.healed_by_batch_id <= {{ watermark() }}
        )

    {% endif %}

),

new_rows as (

    select * from {{ ref('int_quality__delivered_keys') }}
    where
        _batch_id > {{ watermark() }}
        and is_staged

),

new_rejections as (

    select * from {{ ref('stg_ledger__rejected_values') }}
    where _batch_id > {{ watermark() }}

),

-- A rejected row is healed by the next batch with a row of its key that staging holds, and a rejected value by the next of them
-- whose value in this column is not rejected. A row of the same batch is another row, not a correction.
healing_rows as (

    select
        rejected_keys.rejection_id,
        min(new_rows._batch_id) as healed_by_batch_id
    from rejected_keys
    inner join new_rows
        on
            rejected_keys.delivered_key = new_rows.delivered_key
            and rejected_keys.feed = new_rows.feed
            and rejected_keys.entity = new_rows.entity
            and rejected_keys._batch_id < new_rows._batch_id
    left join new_rejections
        on
            new_rows._row_id = new_rejections._row_id
            and rejected_keys.column_name = new_rejections.column_name
    where new_rejections._row_id is null
    group by rejected_keys.rejection_id

),

final as (

    select
        -- ids
        rejection_id,
        healed_by_batch_id

    from healing_rows

)

select * from final
