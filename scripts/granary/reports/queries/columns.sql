select attname as name
from pg_attribute
where
    attrelid = to_regclass(format('%%I.%%I', %s, %s))
    and attnum > 0
    and not attisdropped
    and attname not in ('_batch_id', '_row_id')
order by attnum
