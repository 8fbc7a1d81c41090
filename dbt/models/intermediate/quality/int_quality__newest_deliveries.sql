-- Ephemeral: dbt drops a view together with a table that it replaces, and a build of a part doesn't make it again.
{{ config(materialized='ephemeral') }}

with

batches as (

    select * from {{ ref('stg_ledger__batches') }}
    where status = 'loaded'

),

final as (

    select
        -- ids
        feed,

        -- timestamps
        max({{ latest_day_at('finished_at') }}) as newest_delivery_date

    from batches
    group by feed

)

select * from final
