-- The core's part of `make summary`: rows per feed. Each feed adds scripts/granary/feeds/<feed>/summary.sql, which finds
-- its marts in the search path.
\set prefix `printf %s "${GRANARY_SCHEMA_PREFIX:-}"`
select format('set search_path = %I', :'prefix' || 'marts') \gexec
select to_regclass('raw._batches') is not null as is_loaded, to_regclass('load_audit') is not null as is_built \gset

\echo '\nRows per feed\n'
\if :is_built
    select
        feed,
        count(*) as batches,
        sum(rows_read_count) as read,
        sum(rows_loaded_count) as loaded,
        sum(lines_rejected_count) as "lines rejected",
        sum(rows_rejected_count) as "rows rejected",
        sum(values_rejected_count) as "values rejected"
    from load_audit
    where status = 'loaded'
    group by feed
    order by feed;
    \echo 'Each of them, with its file, line and reason: marts.rejected_rows.'
\elif :is_loaded
    select
        feed,
        count(*) as batches,
        sum(rows_read) as read,
        sum(rows_loaded) as loaded,
        sum(rows_rejected) as "lines rejected"
    from raw._batches
    where status = 'loaded'
    group by feed
    order by feed;
    \echo 'Rejected rows and values are known once they are built: bin/dbt build'
\else
    \echo 'Nothing is loaded yet: bin/ingest'
\endif
\echo
