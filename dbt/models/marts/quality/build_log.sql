-- A view, because a build is recorded only after all tables are built.
{{ config(materialized='view') }}

with

builds as (

    select * from {{ ref('stg_ledger__builds') }}

),

final as (

    select
        -- ids
        build_id,

        -- text
        schema_prefix,
        command,
        selection,
        status,

        -- numerics
        models_built_count,
        tests_passed_count,
        tests_warned_count,
        tests_failed_count,
        error_count,

        -- booleans
        is_full_refresh,

        -- timestamps
        started_at,
        finished_at

    from builds

)

select * from final
