-- Each source that stands for brands (`feeds` in its meta) had one when bin/ingest last looked, even if nothing of it was loaded.
with

sources as (

    {%- for source in declared_brands() %}
    select
        '{{ source.feed }}' as feed,
        'no brand of the source {{ source.feed }} is there: bin/ingest found no file of {{ source.entities | join(" or ") }} in a folder {{ source.feeds }}'
        || '{{ ", and no such table in a schema " ~ source.schemas if source.schemas }}' as finding
    union all
    {%- endfor %}
    -- Keeps the query valid if no source stands for brands.
    select
        cast(null as {{ dbt.type_string() }}) as feed,
        cast(null as {{ dbt.type_string() }}) as finding
    where false

)

select
    sources.feed,
    sources.finding
from sources
where
    sources.feed not in (
        select feed_onboarding.feed
        from {{ ref('feed_onboarding') }} as feed_onboarding
        where feed_onboarding.state <> 'gone'
    )
