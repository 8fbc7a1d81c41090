with

-- A line that is dated after the newest delivery must not add the days until then.
counted_days as (

    select distinct versions.order_date
    from {{ ref('int_shop__order_line_versions') }} as versions
    left join {{ ref('line_statuses') }} as statuses
        on versions.line_status = statuses.line_status
    where
        versions.is_current
        and (statuses.counts_as is null or statuses.counts_as <> 'cancelled')
        and versions.order_date <= {{ newest_delivery_date('shop') }}

),

gaps as (

    select
        order_date,
        {{ days_from('lag(order_date) over (order by order_date)', 'order_date') }} as days_since_previous
    from counted_days

),

-- No shop rests for more than a year: before such a gap, somebody mistyped a year.
numbered as (

    select
        order_date,
        count(case when days_since_previous > 366 then 1 end) over (order by order_date) as period_number
    from gaps

),

periods as (

    select
        min(order_date) as first_date,
        max(order_date) as last_date
    from numbered
    group by period_number

),

days as (

    {{ days_between('(select min(first_date) from periods)', '(select max(last_date) from periods)') }}

),

final as (

    select days.day as sales_date
    from days
    inner join periods
        on days.day between periods.first_date and periods.last_date

)

select * from final
