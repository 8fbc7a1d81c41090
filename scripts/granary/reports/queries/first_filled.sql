select filled.row_count, filled.batch_id, batches.path
from (
    select count(*) as row_count, min(_batch_id) as batch_id from {table} where {column} <> ''
) as filled
left join raw._batches as batches on batches.batch_id = filled.batch_id
