-- dbt's tables of the moment (__dbt_tmp, __dbt_backup) are not marts.
select pg_class.relname as name, coalesce(obj_description(pg_class.oid, 'pg_class'), '') as description
from pg_class
inner join pg_namespace on pg_namespace.oid = pg_class.relnamespace
where
    pg_namespace.nspname = %s
    and pg_class.relkind in ('r', 'p', 'v', 'm')
    and pg_class.relname not like '%%\_\_dbt\_%%'
order by pg_class.relname
