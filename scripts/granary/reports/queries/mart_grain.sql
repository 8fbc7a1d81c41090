-- Of several unique indexes, the one with the fewest columns; among those, the one whose columns come first.
select attname as name
from (
    select indrelid, indkey::smallint[] as keys
    from pg_index
    where indrelid = %s::regclass and indisunique and indpred is null and indexprs is null
    order by indnkeyatts, indkey::smallint[]
    limit 1
) as narrowest
cross join unnest(narrowest.keys) with ordinality as columns (attnum, place)
inner join pg_attribute on pg_attribute.attrelid = narrowest.indrelid and pg_attribute.attnum = columns.attnum
order by columns.place
