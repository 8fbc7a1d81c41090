-- A view, so that it is always as current as the lines.
{{ config(materialized='view') }}

with

counted_lines as (

    select * from {{ ref('int_shop__order_line_versions') }}
    where
        is_current
        and line_status <> 'cancelled'

),

days as (

    {{ days_between('(select min(order_date) from counted_lines)', '(select max(order_date) from counted_lines)') }}

),

final as (

    select day as sales_date from days

)

select * from final
