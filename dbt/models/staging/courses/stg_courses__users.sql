with

source as (

    {{ safe_rows('courses', 'users') }}

),

renamed as (

    select
        -- ids
        id as user_id,

        -- text
        full_name,
        email,
        upper(state) as state,

        -- booleans
        is_gov_employee,
        deleted as is_deleted,

        -- timestamps
        signup_date,
        updated_at as user_updated_at,

        -- provenance
        _batch_id,
        _row_id

    from source

)

select * from renamed
