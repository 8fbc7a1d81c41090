{{ config(
    materialized='incremental',
    unique_key='showtime_id',
    indexes=[
        {'columns': ['_row_id'], 'unique': true},
        {'columns': ['showtime_id']},
        {'columns': ['_batch_id']},
        {'columns': ['superseded_by_batch_id']},
    ],
) }}

with

new_showtimes as (

    select * from {{ ref('stg_tickets__showtimes') }}
    where _batch_id > {{ watermark() }}

),

-- A new version supersedes the one before it, so all versions of a delivered showtime are rewritten.
all_versions as (

    select
        showtime_id,
        event_id,
        starts_at,
        _batch_id,
        _row_id
    from new_showtimes

    {% if is_incremental() %}

    union all

    select
        showtime_id,
        event_id,
        starts_at,
        _batch_id,
        _row_id
    from {{ this }}
    where showtime_id in (select new_showtimes.showtime_id from new_showtimes)

    {% endif %}

),

-- The latest batch wins, then the latest row: `_row_id` is unique, so there are no ties.
ranked as (

    select
        *,
        lead(_batch_id) over (partition by showtime_id order by _batch_id, _row_id) as superseded_by_batch_id
    from all_versions

),

final as (

    select
        -- ids
        showtime_id,
        event_id,

        -- booleans
        superseded_by_batch_id is null as is_current,

        -- timestamps
        starts_at,

        -- provenance
        superseded_by_batch_id,
        _batch_id,
        _row_id

    from ranked

)

select * from final
