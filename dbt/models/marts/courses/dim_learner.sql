-- Rebuilt in full: an enrolment or an event may name a user before the user is delivered.
with

users as (

    select * from {{ ref('int_courses__users') }}

),

user_ids as (

    select user_id from users
    union
    select user_id from {{ ref('fct_enrolments') }}
    union
    select user_id from {{ ref('fct_course_events') }}

),

final as (

    select
        -- ids
        user_ids.user_id,

        -- text
        users.full_name,
        users.email,
        users.state,

        -- booleans
        users.is_gov_employee,
        users.is_deleted,
        users.user_id is not null as is_delivered,

        -- timestamps
        users.signup_date,
        users.user_updated_at,

        -- provenance
        users._batch_id,
        users._row_id

    from user_ids
    left join users
        on user_ids.user_id = users.user_id

)

select * from final
