select attname as name, format_type(atttypid, atttypmod) as type, attcollation <> 0 as is_collated
from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped
order by attnum
