with

source as (

    {{ safe_rows('courses', 'courses') }}

),

renamed as (

    select
        -- ids
        course_id,

        -- text
        title as course_title,
        category_name,
        level as course_level,
        publisher,

        -- timestamps
        course_created_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
