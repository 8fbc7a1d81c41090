-- Net sales are the same, to the cent, in the current lines of staging (without cancelled ones), in fct_order_lines, and in the
-- sums by day, customer and product.

with

ranked as (

    select
        *,
        row_number() over (
            partition by order_id, product_id, is_return
            order by _batch_id desc, _row_id desc
        ) as version_rank
    from {{ ref('stg_shop__orders') }}

),

-- Lines that were sold and returned as a whole add nothing; return lines are negative, because their quantity is.
staged as (

    select sum(quantity * unit_price_usd - case when is_return then -discount_usd else discount_usd end) as net_sales_usd
    from ranked
    where
        version_rank = 1
        and line_status <> 'cancelled'
        and (is_return or line_status <> 'returned')

),

sums as (

    select
        (select coalesce(net_sales_usd, 0) from staged) as staged_usd,
        (select coalesce(sum(net_sales_usd), 0) from {{ ref('fct_order_lines') }}) as lines_usd,
        (select coalesce(sum(net_sales_usd), 0) from {{ ref('fct_daily_sales') }}) as daily_usd,
        (select coalesce(sum(net_revenue_usd), 0) from {{ ref('customer_lifetime_value') }}) as customers_usd,
        (select coalesce(sum(net_revenue_usd), 0) from {{ ref('product_performance') }}) as products_usd

)

select * from sums
where
    staged_usd <> lines_usd
    or lines_usd <> daily_usd
    or lines_usd <> customers_usd
    or lines_usd <> products_usd
