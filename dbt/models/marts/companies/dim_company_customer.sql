with

accounts as (

    select * from {{ ref('dim_account') }}

),

customers as (

    select * from {{ ref('int_kulisse__customers') }}

),

-- Customers who bought something but have not been delivered are included, so that every sale has its customer.
known_customers as (

    select
        'tickets' as company,
        account_id as customer_id
    from accounts

    union

    select
        'kulisse' as company,
        customer_id
    from customers

    union

    select
        company,
        customer_id
    from {{ ref('fct_sales') }}

),

links as (

    select
        tickets_account_id,
        kulisse_customer_id
    from {{ ref('customer_links') }}
    where link_state = 'confirmed'

),

final as (

    select
        -- ids
        known_customers.company,
        known_customers.customer_id,
        case
            when known_customers.company = 'tickets' then concat('tickets:', known_customers.customer_id)
            when links.tickets_account_id is not null then concat('tickets:', links.tickets_account_id)
            else concat('kulisse:', known_customers.customer_id)
        end as unified_customer_id,

        -- text
        coalesce(accounts.email, customers.email) as email,
        customers.customer_name,
        customers.country_code,

        -- booleans
        accounts.account_id is not null or customers.customer_id is not null as is_delivered,

        -- timestamps
        coalesce(accounts.created_at, customers.registered_at) as registered_at

    from known_customers
    left join accounts
        on
            known_customers.company = 'tickets'
            and known_customers.customer_id = accounts.account_id
    left join customers
        on
            known_customers.company = 'kulisse'
            and known_customers.customer_id = customers.customer_id
    left join links
        on
            known_customers.company = 'kulisse'
            and known_customers.customer_id = links.kulisse_customer_id

)

select * from final
