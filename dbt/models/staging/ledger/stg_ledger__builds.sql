-- Ephemeral, because dbt replaces a view by dropping it together with the views that depend on it, and the API queries build_log
-- while a build is running.
{{ config(materialized='ephemeral') }}

with

source as (

    select * from {{ source('ledger', '_builds') }}

),

renamed as (

    select
        -- ids
        build_id,

        -- text
        schema_prefix,
        command,
        selection,
        status,

        -- numerics
        models_built as models_built_count,
        tests_passed as tests_passed_count,
        tests_warned as tests_warned_count,
        tests_failed as tests_failed_count,
        errors as error_count,

        -- booleans
        is_full_refresh,

        -- timestamps
        started_at,
        finished_at

    from source

)

select * from renamed
