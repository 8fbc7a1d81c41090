select to_regclass('fct_asset_prices_daily') is not null and to_regclass('dim_asset') is not null as is_built \gset

\echo 'Best daily returns of the last 30 days\n'
\if :is_built
    select
        prices.close_of_date as "close of day",
        coalesce(assets.asset_name, prices.asset_id) as asset,
        round(prices.daily_return_pct, 2) as "return %",
        trim_scale(prices.close_price_usd) as "close USD"
    from fct_asset_prices_daily as prices
    left join dim_asset as assets on assets.asset_id = prices.asset_id
    where prices.close_of_date > (select max(close_of_date) from fct_asset_prices_daily) - 30
    order by prices.daily_return_pct desc nulls last, prices.close_of_date, prices.asset_id
    limit 5;
\else
    \echo 'Not built yet: bin/dbt build\n'
\endif
