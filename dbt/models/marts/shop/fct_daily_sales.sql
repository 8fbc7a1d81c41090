{{ config(
    unique_key='sales_date',
    indexes=[{'columns': ['sales_date'], 'unique': true}],
    post_hook="delete from {{ this }} where sales_date not in (select sales_date from {{ ref('int_shop__sales_days') }})",
) }}

-- depends_on: {{ ref('int_shop__order_line_versions') }}

with

lines as (

    select * from {{ ref('fct_order_lines') }}

),

sales_days as (

    select * from {{ ref('int_shop__sales_days') }}

),

{% if is_incremental() %}

-- Each day that a version of a new line names, the one that it enters and the one that it leaves; and the days that became, or
-- ceased to be, days between the first and the last.
touched_days as (

    select versions.order_date as sales_date
    from {{ ref('int_shop__order_line_versions') }} as new_versions
    inner join {{ ref('int_shop__order_line_versions') }} as versions
        on
            new_versions.order_id = versions.order_id
            and new_versions.product_id = versions.product_id
            and new_versions.is_return = versions.is_return
    where new_versions._batch_id > {{ watermark() }}

    union

    select coalesce(sales_days.sales_date, known.sales_date) as sales_date
    from sales_days
    full outer join {{ this }} as known
        on sales_days.sales_date = known.sales_date
    where
        sales_days.sales_date is null
        or known.sales_date is null

),

-- A day is part of the average of the six days after it.
affected_days as (

    select distinct sales_days.sales_date
    from sales_days
    inner join touched_days
        on {{ days_from('touched_days.sales_date', 'sales_days.sales_date') }} between 0 and 6

),

{% else %}

affected_days as (

    select sales_days.sales_date
    from sales_days

),

{% endif %}

-- The average of a day needs the six days before it.
needed_days as (

    select distinct sales_days.sales_date
    from sales_days
    inner join affected_days
        on {{ days_from('sales_days.sales_date', 'affected_days.sales_date') }} between 0 and 6

),

sums as (

    select
        needed_days.sales_date,
        count(distinct case when lines.units > 0 then lines.order_id end) as order_count,
        count(distinct case when lines.units > 0 then lines.customer_id end) as customer_count,
        coalesce(sum(lines.units), 0) as units,
        coalesce(sum(lines.gross_sales_usd), 0) as gross_sales_usd,
        coalesce(sum(lines.discount_usd), 0) as discount_usd,
        coalesce(sum(lines.returns_usd), 0) as returns_usd,
        coalesce(sum(lines.net_sales_usd), 0) as net_sales_usd,
        max(lines._batch_id) as _batch_id
    from needed_days
    left join lines
        on needed_days.sales_date = lines.order_date
    group by needed_days.sales_date

),

averages as (

    select
        *,
        case when count(*) over seven_days = 7 then avg(net_sales_usd) over seven_days end as net_sales_7d_avg_usd
    from sums
    window seven_days as (order by sales_date rows between 6 preceding and current row)

),

final as (

    select
        -- ids
        averages.sales_date,

        -- numerics
        averages.order_count,
        averages.customer_count,
        cast(averages.units as bigint) as units,
        cast(averages.gross_sales_usd as numeric(38, 2)) as gross_sales_usd,
        cast(averages.discount_usd as numeric(38, 2)) as discount_usd,
        cast(averages.returns_usd as numeric(38, 2)) as returns_usd,
        cast(averages.net_sales_usd as numeric(38, 2)) as net_sales_usd,
        {{ ratio('averages.gross_sales_usd - averages.discount_usd', 'averages.order_count', 2) }} as average_order_usd,
        cast(round(averages.net_sales_7d_avg_usd, 2) as numeric(38, 2)) as net_sales_7d_avg_usd,

        -- provenance
        averages._batch_id

    from averages
    inner join affected_days
        on averages.sales_date = affected_days.sales_date

)

select * from final
