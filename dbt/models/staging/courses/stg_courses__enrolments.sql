with

source as (

    {{ safe_rows('courses', 'enrolments') }}

),

renamed as (

    select
        -- ids
        enrolment_id,
        user_id,
        course_id,

        -- text
        status as enrolment_status,

        -- timestamps
        enrolled_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
