{{ config(
    unique_key='page_id',
    indexes=[
        {'columns': ['page_id'], 'unique': true},
        {'columns': ['customer_id', 'canonical_customer_id']},
        {'columns': ['canonical_customer_id', 'viewed_at']},
        {'columns': ['_batch_id']},
    ],
) }}

-- depends_on: {{ ref('int_identity__resolved_customers') }}

with

pages as (

    select * from {{ ref('int_tickets__pages') }}

),

canonical_customers as (

    select * from {{ ref('int_identity__canonical_customers') }}

),

{% if is_incremental() %}

resolved_customers as (

    select * from {{ ref('int_identity__resolved_customers') }}

),

-- Merges re-key history: besides the new page views, those of every merged customer that stand here under another id than
-- today's. The table is compared with itself as it should be, so nothing is missed after a run that was cut short.
affected_pages as (

    select new_pages.page_id
    from {{ ref('int_tickets__pages') }} as new_pages
    where new_pages._batch_id > {{ watermark() }}

    union

    select page_views.page_id
    from resolved_customers
    inner join {{ this }} as page_views
        on resolved_customers.customer_id = page_views.customer_id
    where page_views.canonical_customer_id <> resolved_customers.canonical_customer_id

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

        -- timestamps
        pages.viewed_at,

        -- provenance
        pages._batch_id,
        pages._row_id

    from pages
    {% if is_incremental() %}
    inner join affected_pages
        on pages.page_id = affected_pages.page_id
    {% endif %}
    left join canonical_customers
        on pages.customer_id = canonical_customers.customer_id

)

select * from final
