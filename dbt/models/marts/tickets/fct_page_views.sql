{{ config(
    materialized='incremental',
    unique_key='page_id',
    indexes=[
        {'columns': ['customer_id', 'canonical_customer_id']},
        {'columns': ['canonical_customer_id', 'viewed_at']},
        {'columns': ['has_ignored_merge']},
    ],
) }}

with

pages as (

    select * from {{ ref('int_tickets__pages') }}

),

canonical_customers as (

    select * from {{ ref('int_identity__canonical_customers') }}

),

{% if is_incremental() %}

changed_customers as (

    {{ changed_customers(ref('int_identity__canonical_customers')) }}

),

-- Merges re-key history, so stored page views of customers whose group may have changed are written along with the new ones.
changed_pages as (

    select new_pages.page_id
    from {{ ref('int_tickets__pages') }} as new_pages
    where new_pages._batch_id > {{ watermark() }}

    union

    select page_views.page_id
    from changed_customers
    inner join {{ this }} as page_views
        on changed_customers.customer_id = page_views.customer_id

),

{% endif %}

final as (

    select
        -- ids
        pages.page_id,
        pages.account_id,
        pages.customer_id,
        coalesce(canonical_customers.canonical_customer_id, pages.customer_id) as canonical_customer_id,
        pages.event_id,
        pages.showtime_id,

        -- text
        pages.page_type,

        -- booleans
        coalesce(canonical_customers.has_ignored_merge, false) as has_ignored_merge,

        -- timestamps
        pages.viewed_at,

        -- provenance
        pages._batch_id,
        pages._row_id

    from pages
    {% if is_incremental() %}
    inner join changed_pages
        on pages.page_id = changed_pages.page_id
    {% endif %}
    left join canonical_customers
        on pages.customer_id = canonical_customers.customer_id

)

select * from final
