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

-- The stored version is compared too, because a later batch may deliver an older state of a user.
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

-- The latest state wins, whatever the order of arrival; a state without a time loses to any other.
latest_states as (

    {{ dbt_utils.deduplicate(
        'competing', 'user_id', 'user_updated_at desc nulls last, _batch_id desc, _row_id desc'
    ) }}

)

select * from latest_states
