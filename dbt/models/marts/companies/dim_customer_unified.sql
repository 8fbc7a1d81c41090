with

customers as (

    select * from {{ ref('dim_company_customer') }}

),

links as (

    select * from {{ ref('customer_links') }}
    where link_state = 'confirmed'

),

-- An account and a customer are one person at most once, so each of these has one value: see the tests of customer_links.
persons as (

    select
        unified_customer_id,
        max(case when company = 'tickets' then customer_id end) as tickets_account_id,
        max(case when company = 'kulisse' then customer_id end) as kulisse_customer_id,
        max(case when company = 'tickets' then email end) as tickets_email,
        max(case when company = 'kulisse' then email end) as kulisse_email,
        max(customer_name) as customer_name,
        max(country_code) as country_code,
        count(*) as company_count,
        min(registered_at) as registered_at
    from customers
    group by unified_customer_id

),

final as (

    select
        -- ids
        persons.unified_customer_id,
        persons.tickets_account_id,
        persons.kulisse_customer_id,

        -- text
        coalesce(persons.tickets_email, persons.kulisse_email) as email,
        persons.customer_name,
        persons.country_code,
        links.link_reason,

        -- numerics
        persons.company_count,

        -- timestamps
        persons.registered_at

    from persons
    left join links
        on
            persons.tickets_account_id = links.tickets_account_id
            and persons.kulisse_customer_id = links.kulisse_customer_id

)

select * from final
