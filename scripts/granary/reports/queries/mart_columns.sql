-- The columns of all marts. `place` is the column's place in the primary key, or else in the narrowest unique index; of
-- several, in the one whose columns come first.
select
    pg_class.relname as mart,
    pg_attribute.attname as name,
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod) as type,
    pg_attribute.attcollation <> 0 as is_collated,
    coalesce(col_description(pg_class.oid, pg_attribute.attnum), '') as description,
    array_position(key.columns, pg_attribute.attnum) as place
from pg_class
inner join pg_attribute on pg_class.oid = pg_attribute.attrelid
left join lateral (
    select cast(indkey as smallint[]) as columns
    from pg_index
    where indrelid = pg_class.oid and indisunique and indpred is null and indexprs is null
    order by not indisprimary, indnkeyatts, indkey::smallint[]
    limit 1
) as key on true
where
    pg_class.relnamespace = to_regnamespace(quote_ident(%s)) and pg_class.relkind in ('r', 'p', 'v', 'm')
    and pg_attribute.attnum > 0 and not pg_attribute.attisdropped
order by pg_class.relname, pg_attribute.attnum
