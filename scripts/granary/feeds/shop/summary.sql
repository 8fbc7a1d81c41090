select to_regclass('fct_daily_sales') is not null as is_built \gset

\echo 'Sales of the shop, the last 7 days\n'
\if :is_built
    select
        sales_date as day,
        order_count as orders,
        units,
        returns_usd as "returns USD",
        net_sales_usd as "net USD",
        net_sales_7d_avg_usd as "7-day average"
    from fct_daily_sales
    where sales_date > (select max(sales_date) from fct_daily_sales) - 7
    order by sales_date desc;
\else
    \echo 'Not built yet: bin/dbt build\n'
\endif
