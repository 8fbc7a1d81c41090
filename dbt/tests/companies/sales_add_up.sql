-- The lines of fct_sales hold all that both companies sold, once, at every grain: order by order what was paid, all items, all
-- refunds, and all that persons bought.

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

-- By status and amounts of the orders, not by the lines that were made of them.
refunds as (

    select
        'tickets' as company,
        'USD' as currency,
        sum(amount_usd) as amount
    from {{ ref('fct_transactions') }}
    where amount_usd < 0

    union all

    select
        'kulisse' as company,
        orders.currency,
        -sum(case when statuses.counts_as = 'refunded' then orders.total_amount else orders.refunded_amount end) as amount
    from {{ ref('int_kulisse__orders') }} as orders
    inner join {{ ref('order_statuses') }} as statuses
        on orders.order_status = statuses.order_status
    where
        (statuses.counts_as in ('sold', 'partly_refunded') and orders.refunded_amount > 0)
        or (statuses.counts_as = 'refunded' and coalesce(orders.refunded_amount, 0) in (0, orders.total_amount))
    group by orders.currency

),

refunds_booked as (

    select
        company,
        currency,
        sum(amount + uncounted_amount) as amount
    from sales
    where line_type = 'refund'
    group by
        company,
        currency

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
        concat(
            'all refunds of ',
            coalesce(refunds.company, refunds_booked.company), ' in ', coalesce(refunds.currency, refunds_booked.currency)
        ) as what,
        refunds.amount as expected,
        refunds_booked.amount as found
    from refunds
    full outer join refunds_booked
        on
            refunds.company = refunds_booked.company
            and refunds.currency = refunds_booked.currency
    where coalesce(refunds.amount, 0) <> coalesce(refunds_booked.amount, 0)

)

select * from differences
