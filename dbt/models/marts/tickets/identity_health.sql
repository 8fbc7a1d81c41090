with

customers as (

    select
        cast(coalesce(sum(customer_id_count), 0) as bigint) as customer_id_count,
        count(*) as customer_count,
        coalesce(max(customer_id_count), 0) as largest_customer_id_count
    from {{ ref('dim_customer') }}

),

-- Ties go to the id that sorts first.
largest as (

    select min({{ binary_order('largest.customer_id') }}) as customer_id
    from {{ ref('dim_customer') }} as largest
    inner join customers
        on largest.customer_id_count = customers.largest_customer_id_count

),

-- The survivor of a cycle is the only one of its customers whose merge was dropped, so there is one such customer per cycle.
survivors as (

    select resolved.customer_id
    from {{ ref('int_identity__resolved_customers') }} as resolved
    inner join {{ ref('int_identity__latest_merges') }} as latest
        on resolved.customer_id = latest.customer_id
    where
        resolved.customer_id = resolved.canonical_customer_id
        and latest.absorbed_by_customer_id is not null

),

merge_days as (

    select * from {{ ref('customer_merges_daily') }}

),

separated_customers as (

    select * from {{ ref('int_identity__connected_customers') }}

),

-- Orders name accounts, and page views say which customers were signed in to them.
separated_accounts as (

    select page_views.account_id
    from {{ ref('fct_page_views') }} as page_views
    inner join separated_customers
        on page_views.canonical_customer_id = separated_customers.customer_id
    group by page_views.account_id

),

separated_orders as (

    select orders.order_total_usd
    from {{ ref('fct_orders') }} as orders
    inner join separated_accounts
        on orders.account_id = separated_accounts.account_id

),

final as (

    select
        -- ids
        (select customer_id from largest) as largest_customer_id,

        -- numerics
        (select customer_id_count from customers) as customer_id_count,
        (select customer_count from customers) as customer_count,
        (select largest_customer_id_count from customers) as largest_customer_id_count,
        (select count(*) from survivors) as cycle_count,
        (select cast(coalesce(sum(merge_count), 0) as bigint) from merge_days) as merge_count,
        (select cast(coalesce(sum(ignored_merge_count), 0) as bigint) from merge_days) as ignored_merge_count,
        (select cast(coalesce(sum(self_merge_count), 0) as bigint) from merge_days) as self_merge_count,
        (select count(*) from {{ ref('int_identity__undone_merges') }}) as undone_merge_count,
        (select count(*) from separated_customers) as separated_customer_count,
        (select cast(coalesce(sum(order_total_usd), 0) as numeric(38, 2)) from separated_orders) as separated_sales_usd

)

select * from final
