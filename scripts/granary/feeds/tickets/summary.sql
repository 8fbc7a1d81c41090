select
    to_regclass('fct_weekly_sales') is not null
    and to_regclass('dim_event') is not null
    and to_regclass('load_audit') is not null as is_built
\gset

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
    -- A week after the newest delivery is implausible: it must not be the last one.
    inner join (
        select max(sales_week) as sales_week
        from fct_weekly_sales
        where sales_week <= (select max(delivered_on) from load_audit where feed = 'tickets' and status = 'loaded')
    ) as latest on sales.sales_week between latest.sales_week - 27 and latest.sales_week
    order by sales.sales_week desc, sales.gross_sales_usd desc, sales.event_id;
\else
    \echo 'Not built yet: bin/dbt build\n'
\endif
