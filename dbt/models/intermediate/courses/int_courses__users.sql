{{ config(
    materialized='incremental',
    unique_key='user_id',
    indexes=[
        {'columns': ['user_id'], 'unique': true},
        {'columns': ['_batch_id']},
    ],
) }}

with

new_users as (

    select * from {{ ref('stg_courses__users') }}
    where _batch_id > {{ watermark() }}

),

-- The stored version competes, because a later batch may bring an older state of a user.
competing as (

    select
        user_id,
        full_name,
        email,
        state,
        is_gov_employee,
        is_deleted,
        signup_date,
        user_updated_at,
        _batch_id,
        _row_id
    from new_users

    {% if is_incremental() %}

    union all

    select
        user_id,
        full_name,
        email,
        state,
        is_gov_employee,
        is_deleted,
        signup_date,
        user_updated_at,
        _batch_id,
        _row_id
    from {{ this }}
    where user_id in (select new_users.user_id from new_users)

    {% endif %}

),

-- The latest state wins, whatever the order of arrival; one without a time loses against any other. Of equals, the latest
-- batch wins, then the latest row: `_row_id` is unique, so the order is total.
ranked as (

    select
        *,
        row_number() over (
            partition by user_id
            order by user_updated_at desc nulls last, _batch_id desc, _row_id desc
        ) as state_rank
    from competing

),

latest_states as (

    select
        -- ids
        user_id,

        -- text
        full_name,
        email,
        state,

        -- booleans
        is_gov_employee,
        is_deleted,

        -- timestamps
        signup_date,
        user_updated_at,

        -- provenance
        _batch_id,
        _row_id

    from ranked
    where state_rank = 1

)

select * from latest_states
