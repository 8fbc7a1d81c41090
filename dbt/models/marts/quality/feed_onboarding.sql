-- Rebuilt in full: there are few brands, and any of them may be gone.
with

places as (

    select * from {{ ref('stg_ledger__brands') }}

),

batches as (

    select
        batches.*,
        audited.rows_staged_count,
        audited.rows_rejected_count + audited.lines_rejected_count as rejected_count,
        -- A file that has failed may have been loaded since.
        row_number() over (
            partition by batches.feed, batches.entity, batches.file_path
            order by batches.batch_id desc
        ) = 1 as is_latest_of_file
    from {{ ref('stg_ledger__batches') }} as batches
    inner join {{ ref('load_audit') }} as audited
        on batches.batch_id = audited.batch_id
    where batches.brand is not null

),

-- A place that can't be a brand's has no batches, and a brand may have batches from before its places were recorded.
brands as (

    select
        feed,
        entity,
        brand
    from places

    union distinct

    select
        feed,
        entity,
        brand
    from batches

),

current_places as (

    select
        feed,
        entity,
        brand,
        count(*) as place_count,
        max(case when place_kind = 'folder' then 1 else 0 end) as has_folder,
        max(case when place_kind = 'schema' then 1 else 0 end) as has_schema
    from places
    where gone_at is null
    group by
        feed,
        entity,
        brand

),

batches_in_use as (

    select
        feed,
        entity,
        brand,
        max(batch_id) as last_batch_id,
        count(*) as batch_count,
        sum(rows_staged_count) as row_count,
        sum(rejected_count) as rejected_count,
        sum(extra_value_count) as extra_value_count
    from batches
    where status = 'loaded'
    group by
        feed,
        entity,
        brand

),

first_batches as (

    select
        feed,
        entity,
        brand,
        min(finished_at) as live_since
    from batches
    where status <> 'failed'
    group by
        feed,
        entity,
        brand

),

errors as (

    select
        feed,
        entity,
        brand,
        error,
        0 as batch_id,
        1 as precedence,
        place as found_in
    from places
    where
        gone_at is null
        and error is not null

    union all

    select
        feed,
        entity,
        brand,
        error,
        batch_id,
        2 as precedence,
        file_path as found_in
    from batches
    where
        is_latest_of_file
        and status = 'failed'

),

-- What keeps a whole place out comes first. The place or file only makes the order total.
last_errors as (

    {{ dbt_utils.deduplicate(
        'errors', 'feed, entity, brand', 'precedence, batch_id desc, ' ~ binary_order('found_in')
    ) | indent(4) }}

),

final as (

    select
        -- ids
        brands.feed,
        brands.entity,
        brands.brand,
        in_use.last_batch_id,

        -- text
        case
            when current_places.place_count is null then 'gone'
            when in_use.batch_count is null then 'refused'
            else 'live'
        end as state,
        case
            when current_places.has_folder + current_places.has_schema = 2 then 'folder and schema'
            when current_places.has_folder = 1 then 'folder'
            when current_places.has_schema = 1 then 'schema'
        end as delivered_by,
        latest.delivered_columns,
        latest.missing_columns,
        latest.extra_columns,
        last_errors.error as last_error,

        -- numerics
        coalesce(in_use.batch_count, 0) as batch_count,
        cast(coalesce(in_use.row_count, 0) as bigint) as row_count,
        cast(coalesce(in_use.rejected_count, 0) as bigint) as rejected_count,
        {{ names_in('latest.delivered_columns') }} as delivered_column_count,
        {{ names_in('latest.missing_columns') }} as missing_column_count,
        {{ names_in('latest.extra_columns') }} as extra_column_count,
        cast(coalesce(in_use.extra_value_count, 0) as bigint) as extra_value_count,

        -- timestamps
        first_batches.live_since,
        latest.finished_at as last_loaded_at

    from brands
    left join current_places
        on
            brands.feed = current_places.feed
            and brands.entity = current_places.entity
            and brands.brand = current_places.brand
    left join batches_in_use as in_use
        on
            brands.feed = in_use.feed
            and brands.entity = in_use.entity
            and brands.brand = in_use.brand
    left join batches as latest
        on in_use.last_batch_id = latest.batch_id
    left join first_batches
        on
            brands.feed = first_batches.feed
            and brands.entity = first_batches.entity
            and brands.brand = first_batches.brand
    left join last_errors
        on
            brands.feed = last_errors.feed
            and brands.entity = last_errors.entity
            and brands.brand = last_errors.brand

)

select * from final
