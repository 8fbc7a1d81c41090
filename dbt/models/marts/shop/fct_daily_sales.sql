{{ config(
    materialized='incremental',
    unique_key='sales_date',
    post_hook="{{ delete_rows_without('sales_date', ref('int_shop__sales_days')) }}",
) }}

-- depends_on: {{ ref('int_shop__order_line_versions') }}
-- depends_on: {{ ref('line_statuses') }}

with

lines as (

    select * from {{ ref('fct_order_lines') }}

),

sales_days as (

    select * from {{ ref('int_shop__sales_days') }}

),

{% if is_incremental() %}

-- All days of all versions of the new lines: a line changes the day that it enters and the day that it leaves.
changed_days as (

    select distinct versions.order_date as sales_date
    from {{ ref('int_shop__order_line_versions') }} as new_versions
    inner join {{ ref('int_shop__order_line_versions') }} as versions
        on
            new_versions.order_id = versions.order_id
            and new_versions.line_key = versions.line_key
    where new_versions._batch_id > {{ watermark(restarts_with_seeds=true) }}

),

-- Days that have entered or left the range of days with sales have changed as well.
timeline as (

    select
        coalesce(sales_days.sales_date, known.sales_date) as sales_date,
        sales_days.sales_date is not null as is_sales_day,
        sales_days.sales_date is null or known.sales_date is null or changed_days.sales_date is not null as is_changed
    from sales_days
    full outer join {{ this }} as known
        on sales_days.sales_date = known.sales_date
    left join changed_days
        on coalesce(sales_days.sales_date, known.sales_date) = changed_days.sales_date

),

-- A day is included in the averages of the six days after it.
days as (

    select
        sales_date,
        is_sales_day,
        {{ dbt.bool_or('is_changed') }} over (
            order by sales_date rows between 6 preceding and current row
        ) as is_changed_by_week
    from timeline

),

{% else %}

days as (

    select
        sales_date,
        true as is_sales_day,
        true as is_changed_by_week
    from sales_days

),

{% endif %}

-- The average of a day requires the six days before it.
reach as (

    select
        *,
        {{ dbt.bool_or('is_changed_by_week') }} over (
            order by sales_date rows between current row and 6 following
        ) as is_needed
    from days

),

needed_days as (

    select * from reach
    where
        is_sales_day
        and is_needed

),

sums as (

    select
        needed_days.sales_date,
        needed_days.is_changed_by_week,
        count(distinct case when lines.units > 0 then lines.order_id end) as order_count,
        count(distinct case when lines.units > 0 and lines.customer_id <> 'unknown' then lines.customer_id end) as customer_count,
        coalesce(sum(lines.units), 0) as units,
        coalesce(sum(lines.gross_sales_usd), 0) as gross_sales_usd,
        coalesce(sum(lines.discount_usd), 0) as discount_usd,
        coalesce(sum(lines.returns_usd), 0) as returns_usd,
        coalesce(sum(lines.adjustments_usd), 0) as adjustments_usd,
        coalesce(sum(lines.net_sales_usd), 0) as net_sales_usd,
        coalesce(sum(case when lines.counts_as = 'unmapped' then lines.line_value_usd end), 0) as unmapped_usd
    from needed_days
    left join lines
        on needed_days.sales_date = lines.order_date
    group by
        needed_days.sales_date,
        needed_days.is_changed_by_week

),

-- Seven rows are a week unless there is a gap between them.
averages as (

    select
        *,
        case
            when {{ days_from('lag(sales_date, 6) over (order by sales_date)', 'sales_date') }} = 6
                then {{ average('net_sales_usd', 2, '(order by sales_date rows between 6 preceding and current row)') }}
        end as net_sales_7d_avg_usd
    from sums

),

final as (

    select
        -- ids
        sales_date,

        -- numerics
        order_count,
        customer_count,
        cast(units as bigint) as units,
        cast(gross_sales_usd as numeric(38, 4)) as gross_sales_usd,
        cast(discount_usd as numeric(38, 4)) as discount_usd,
        cast(returns_usd as numeric(38, 4)) as returns_usd,
        cast(adjustments_usd as numeric(38, 4)) as adjustments_usd,
        cast(net_sales_usd as numeric(38, 4)) as net_sales_usd,
        cast(unmapped_usd as numeric(38, 4)) as unmapped_usd,
        {{ ratio('gross_sales_usd - discount_usd', 'order_count', 2) }} as average_order_usd,
        cast(net_sales_7d_avg_usd as numeric(38, 2)) as net_sales_7d_avg_usd

    from averages
    where is_changed_by_week

)

select * from final
