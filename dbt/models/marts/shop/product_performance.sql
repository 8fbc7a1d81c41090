-- Rebuilt in full: a sale changes the rank and the share of every other product.
{{ config(
    indexes=[{'columns': ['revenue_rank'], 'unique': true}],
) }}

with

products as (

    select * from {{ ref('int_shop__products') }}

),

-- Everything is as of the last sales day, so lines that are dated ahead don't count yet.
lines as (

    select * from {{ ref('fct_order_lines') }}
    where not is_dated_ahead

),

product_ids as (

    select product_id from products
    union
    select product_id from {{ ref('fct_order_lines') }}

),

last_day as (

    select max(sales_date) as as_of_date
    from {{ ref('int_shop__sales_days') }}

),

dated_lines as (

    select
        lines.*,
        {{ days_from('lines.order_date', 'last_day.as_of_date') }} as days_ago
    from lines
    cross join last_day

),

sums as (

    select
        product_id,
        sum(units) as units,
        sum(returned_units) as returned_units,
        sum(net_sales_usd) as net_revenue_usd,
        sum(case when days_ago between 0 and 27 then net_sales_usd else 0 end) as net_revenue_last_28d_usd,
        sum(case when days_ago between 28 and 55 then net_sales_usd else 0 end) as net_revenue_previous_28d_usd,
        min(case when units > 0 then order_date end) as first_sale_date,
        max(case when units > 0 then order_date end) as last_sale_date
    from dated_lines
    group by product_id

),

-- Costs are the latest known ones. Returned units can be sold again, so they cost nothing.
measured as (

    select
        product_ids.product_id,
        products.product_name,
        products.category,
        products.unit_price_usd,
        products.unit_cost_usd,
        products.product_id is not null as is_delivered,
        cast(coalesce(sums.units, 0) as bigint) as units,
        cast(coalesce(sums.returned_units, 0) as bigint) as returned_units,
        coalesce(sums.net_revenue_usd, 0) as net_revenue_usd,
        coalesce(sums.net_revenue_usd, 0)
        - (coalesce(sums.units, 0) - coalesce(sums.returned_units, 0)) * products.unit_cost_usd as margin_usd,
        coalesce(sums.net_revenue_last_28d_usd, 0) as net_revenue_last_28d_usd,
        coalesce(sums.net_revenue_previous_28d_usd, 0) as net_revenue_previous_28d_usd,
        sums.first_sale_date,
        sums.last_sale_date
    from product_ids
    left join products
        on product_ids.product_id = products.product_id
    left join sums
        on product_ids.product_id = sums.product_id

),

-- Ties go to the id that sorts first.
ranked as (

    select
        *,
        sum(net_revenue_usd) over () as total_net_revenue_usd,
        row_number() over (
            order by net_revenue_usd desc, {{ binary_order('product_id') }}
        ) as revenue_rank,
        row_number() over (
            partition by category
            order by net_revenue_usd desc, {{ binary_order('product_id') }}
        ) as category_revenue_rank
    from measured

),

final as (

    select
        -- ids
        product_id,

        -- text
        product_name,
        category,

        -- numerics
        unit_price_usd,
        unit_cost_usd,
        units,
        returned_units,
        cast(net_revenue_usd as numeric(38, 4)) as net_revenue_usd,
        cast(margin_usd as numeric(38, 2)) as margin_usd,
        cast(100 * {{ ratio('margin_usd', 'net_revenue_usd', 6) }} as numeric(38, 4)) as margin_pct,
        {{ ratio('returned_units', 'units', 4) }} as return_rate,
        cast(100 * {{ ratio('net_revenue_usd', 'total_net_revenue_usd', 6) }} as numeric(38, 4)) as share_of_revenue_pct,
        cast(revenue_rank as bigint) as revenue_rank,
        cast(category_revenue_rank as bigint) as category_revenue_rank,
        cast(net_revenue_last_28d_usd as numeric(38, 4)) as net_revenue_last_28d_usd,
        cast(net_revenue_previous_28d_usd as numeric(38, 4)) as net_revenue_previous_28d_usd,
        -- A percentage would be meaningless if the previous net revenue is 0 or negative.
        cast(
            case
                when net_revenue_previous_28d_usd > 0
                    then 100 * {{ ratio('net_revenue_last_28d_usd', 'net_revenue_previous_28d_usd', 6) }} - 100
            end as numeric(38, 4)
        ) as revenue_trend_28d_pct,

        -- booleans
        is_delivered,

        -- timestamps
        first_sale_date,
        last_sale_date

    from ranked

)

select * from final
