with

source as (

    {{ safe_rows('courses', 'events') }}

),

renamed as (

    select
        -- ids
        id as course_event_id,
        user_id,
        course_id,
        session_id,

        -- text
        event_type,
        metadata,
        {{ parse_label(dbt.split_part('metadata', "':'", 1)) }} as content_kind,

        -- numerics
        {{ parse_integer(clean_text(dbt.split_part('metadata', "':'", 2))) }} as content_number,

        -- timestamps
        event_timestamp as occurred_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
