-- The lines of fct_sales hold all that both companies sold, once, at every grain: order by order what was paid, all items, all
-- refunds of tickets, and all that persons bought.

with

sales as (

    select * from {{ ref('fct_sales') }}

),

sold_by_order as (

    select
        company,
        order_id,
        sum(amount + uncounted_amount) as amount
    from sales
    where
        line_type <> 'refund'
        and currency <> 'XXX'
    group by
        company,
        order_id

),

orders as (

    select
        'tickets' as company,
        order_id,
        order_total_usd as amount
    from {{ ref('fct_orders') }}

    union all

    select
        'kulisse' as company,
        order_id,
        total_amount as amount
    from {{ ref('int_kulisse__orders') }}

),

items as (

    select
        sum(amount) as amount,
        count(*) as item_count
    from {{ ref('int_kulisse__order_items') }}

),

items_sold as (

    select
        sum(amount + uncounted_amount) as amount,
        count(*) as item_count
    from sales
    where line_type = 'item'

),

by_person as (

    select
        sum(sales.amount_usd) as amount_usd,
        sum(sales.unconverted_amount) as unconverted_amount,
        count(*) as line_count
    from sales
    inner join {{ ref('dim_company_customer') }} as customers
        on
            sales.company = customers.company
            and sales.customer_id = customers.customer_id
    inner join {{ ref('dim_customer_unified') }} as persons
        on customers.unified_customer_id = persons.unified_customer_id

),

by_line as (

    select
        sum(amount_usd) as amount_usd,
        sum(unconverted_amount) as unconverted_amount,
        count(*) as line_count
    from sales

),

refunds as (

    select coalesce(sum(payments.amount_usd), 0) as amount_usd
    from {{ ref('fct_transactions') }} as payments
    inner join {{ ref('fct_orders') }} as fct_orders
        on payments.order_id = fct_orders.order_id
    where payments.amount_usd < 0

),

refunds_booked as (

    select coalesce(sum(amount), 0) as amount_usd
    from sales
    where
        company = 'tickets'
        and line_type = 'refund'

),

differences as (

    select
        'order' as grain,
        concat(coalesce(orders.company, sold_by_order.company), ' ', coalesce(orders.order_id, sold_by_order.order_id)) as what,
        orders.amount as expected,
        sold_by_order.amount as found
    from orders
    full outer join sold_by_order
        on
            orders.company = sold_by_order.company
            and orders.order_id = sold_by_order.order_id
    where
        orders.amount is null
        or sold_by_order.amount is null
        or orders.amount <> sold_by_order.amount

    union all

    select
        'item' as grain,
        'all items of kulisse' as what,
        items.amount as expected,
        items_sold.amount as found
    from items
    cross join items_sold
    where
        items.amount <> items_sold.amount
        or items.item_count <> items_sold.item_count

    union all

    select
        'person' as grain,
        'all persons' as what,
        by_line.amount_usd as expected,
        by_person.amount_usd as found
    from by_line
    cross join by_person
    where
        by_line.amount_usd <> by_person.amount_usd
        or by_line.unconverted_amount <> by_person.unconverted_amount
        or by_line.line_count <> by_person.line_count

    union all

    select
        'refund' as grain,
        'all refunds of tickets' as what,
        refunds.amount_usd as expected,
        refunds_booked.amount_usd as found
    from refunds
    cross join refunds_booked
    where refunds.amount_usd <> refunds_booked.amount_usd

)

select * from differences
