-- The raw tables of feeds, what was built from them (`is_own`), and the views that read either.
with recursive own as (
    select pg_class.oid
    from pg_class
    inner join pg_namespace on pg_namespace.oid = relnamespace
    -- Only the tables of bin/ingest number their rows; others in the schema are not the feed's.
    left join pg_attribute as is_landing on attrelid = pg_class.oid and attname = '_row_id' and atthasdef
    where
        relkind in ('r', 'v', 'm')
        and (
            (nspname = 'raw' and split_part(relname, '__', 1) = any(%(feeds)s) and is_landing.attrelid is not null)
            or (nspname = any(%(layers)s) and (relname = any(%(names)s) or relname ~ %(pattern)s))
        )
),

readers as (
    select oid from own
    union
    select ev_class
    from readers
    inner join pg_depend on refobjid = readers.oid and classid = 'pg_rewrite'::regclass
    inner join pg_rewrite on pg_rewrite.oid = objid
)

select
    case relkind when 'r' then 'table' when 'v' then 'view' else 'materialized view' end as kind,
    nspname as schema,
    relname as name,
    readers.oid in (select oid from own) as is_own
from readers
inner join pg_class using (oid)
inner join pg_namespace on pg_namespace.oid = relnamespace
order by nspname = 'raw' desc, nspname, relname
