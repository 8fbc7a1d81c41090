select feed, entity, batch_id
from raw._batches
where
    feed = any(%(feeds)s)
    and status = 'loaded'
    and (%(wanted)s::bigint[] is null or batch_id = any(%(wanted)s))
order by batch_id
