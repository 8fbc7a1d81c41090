select to_regclass('fct_weekly_sales') is not null and to_regclass('dim_event') is not null as is_built \gset

\echo 'Ticket sales by event, the last 4 weeks\n'
\if :is_built
    select
        sales.sales_week as "week of",
        coalesce(events.event_name, sales.event_id) as event,
        sales.order_count as orders,
        sales.gross_sales_usd as "gross USD",
        sales.collected_usd as "collected USD",
        repeat('█', round(20 * greatest(sales.gross_sales_usd, 0) / nullif(max(sales.gross_sales_usd) over (), 0))::int)
            as " "
    from fct_weekly_sales as sales
    left join dim_event as events on events.event_id = sales.event_id
    where sales.sales_week > (select max(sales_week) from fct_weekly_sales) - 28
    order by sales.sales_week desc, sales.gross_sales_usd desc, sales.event_id;
\else
    \echo 'Not built yet: bin/dbt build\n'
\endif
