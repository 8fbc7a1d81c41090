select feed, entity, max(finished_at) as loaded_at, clock_timestamp() - max(finished_at) as age
from raw._batches
where status = 'loaded'
group by feed, entity
