-- A view, because a build writes watermarks until its last table is built.
{{ config(materialized='view') }}

with

watermarks as (

    select * from {{ watermarks() }}

),

final as (

    select
        -- ids
        model as table_name,
        build_id,
        batch_id,
        loaded_batch_id,

        -- timestamps
        loaded_at

    from watermarks

)

select * from final
