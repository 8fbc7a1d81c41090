-- Rebuilt in full: every new day of sales changes the recency of every customer.
with

customers as (

    select * from {{ ref('int_shop__customers') }}

),

products as (

    select * from {{ ref('int_shop__products') }}

),

-- Everything is as of the last sales day, so lines that are dated ahead don't count yet.
lines as (

    select * from {{ ref('fct_order_lines') }}
    where not is_dated_ahead

),

segments as (

    select * from {{ ref('customer_segments') }}

),

-- Guests are no customer.
customer_ids as (

    select customer_id from customers
    union
    select customer_id from {{ ref('fct_order_lines') }}
    where customer_id <> 'unknown'

),

last_day as (

    select max(sales_date) as as_of_date
    from {{ ref('int_shop__sales_days') }}

),

-- Costs are the latest known ones. Returned units can be sold again, so they cost nothing.
costed_lines as (

    select
        lines.*,
        lines.net_sales_usd - (lines.units - lines.returned_units) * products.unit_cost_usd as margin_usd
    from lines
    left join products
        on lines.product_id = products.product_id

),

-- The margin rate of all other lines is used for lines of products without a known cost.
known_margins as (

    select {{ ratio('sum(margin_usd)', 'sum(net_sales_usd)', 6) }} as margin_share
    from costed_lines
    where margin_usd is not null

),

orders as (

    select
        customer_id,
        order_id,
        min(order_date) as order_date
    from lines
    where units > 0
    group by
        customer_id,
        order_id

),

order_histories as (

    select
        customer_id,
        count(*) as order_count,
        min(order_date) as first_order_date,
        max(order_date) as last_order_date
    from orders
    group by customer_id

),

sums as (

    select
        costed_lines.customer_id,
        sum(costed_lines.units) as units,
        sum(costed_lines.gross_sales_usd - costed_lines.discount_usd) as ordered_usd,
        sum(costed_lines.net_sales_usd) as net_revenue_usd,
        sum(costed_lines.margin_usd) as margin_usd,
        -- Rounded to six decimals, because Spark keeps no more of such a product; and of one type, because it would round one of
        -- two again.
        sum(coalesce(
            cast(costed_lines.margin_usd as numeric(38, 6)),
            cast(round(costed_lines.net_sales_usd * coalesce(known_margins.margin_share, 0), 6) as numeric(38, 6))
        )) as historical_value_usd
    from costed_lines
    cross join known_margins
    group by costed_lines.customer_id

),

measured as (

    select
        customer_ids.customer_id,
        customers.customer_name,
        customers.country_code,
        customers.customer_id is not null as is_delivered,
        order_histories.first_order_date,
        order_histories.last_order_date,
        coalesce(order_histories.order_count, 0) as order_count,
        cast(coalesce(sums.units, 0) as bigint) as units,
        sums.ordered_usd,
        coalesce(sums.net_revenue_usd, 0) as net_revenue_usd,
        coalesce(sums.margin_usd, 0) as margin_usd,
        round(coalesce(sums.historical_value_usd, 0), 2) as historical_value_usd,
        {{ days_from('order_histories.first_order_date', 'order_histories.last_order_date') }} as ordering_days,
        {{ days_from('order_histories.first_order_date', 'last_day.as_of_date') }} as tenure_days,
        {{ days_from('order_histories.last_order_date', 'last_day.as_of_date') }} as recency_days,
        last_day.as_of_date
    from customer_ids
    cross join last_day
    left join customers
        on customer_ids.customer_id = customers.customer_id
    left join order_histories
        on customer_ids.customer_id = order_histories.customer_id
    left join sums
        on customer_ids.customer_id = sums.customer_id

),

-- The first segment whose bounds the customer meets.
segmented as (

    select
        measured.customer_id,
        min(segments.segment_rank) as segment_rank
    from measured
    inner join segments
        on
            measured.order_count >= segments.min_order_count
            and (segments.max_recency_days is null or measured.recency_days <= segments.max_recency_days)
            and (segments.min_net_revenue_usd is null or measured.net_revenue_usd >= segments.min_net_revenue_usd)
    group by measured.customer_id

),

final as (

    select
        -- ids
        measured.customer_id,

        -- text
        measured.customer_name,
        measured.country_code,
        segments.rfm_segment,

        -- numerics
        measured.order_count,
        measured.units,
        cast(measured.net_revenue_usd as numeric(38, 4)) as net_revenue_usd,
        cast(measured.margin_usd as numeric(38, 2)) as margin_usd,
        {{ ratio('measured.ordered_usd', 'measured.order_count', 2) }} as average_order_usd,
        {{ ratio('measured.ordering_days', 'measured.order_count - 1', 2) }} as days_between_orders,
        measured.tenure_days,
        measured.recency_days,
        cast(measured.historical_value_usd as numeric(38, 2)) as historical_value_usd,
        -- Value per day, projected over a year and reduced by the days since the last order. The tenure counts as at least 90
        -- days, because the first order of a new customer says little about the next one.
        cast(
            case
                when measured.order_count > 0
                    then round(
                        cast(greatest(measured.historical_value_usd, 0) as numeric(38, 10))
                        * 365 / greatest(measured.tenure_days, 90)
                        * greatest(365 - measured.recency_days, 0) / 365,
                        2
                    )
            end as numeric(38, 2)
        ) as predicted_12_month_value_usd,

        -- booleans
        measured.is_delivered,

        -- timestamps
        measured.first_order_date,
        measured.last_order_date,
        measured.as_of_date

    from measured
    inner join segmented
        on measured.customer_id = segmented.customer_id
    inner join segments
        on segmented.segment_rank = segments.segment_rank

)

select * from final
