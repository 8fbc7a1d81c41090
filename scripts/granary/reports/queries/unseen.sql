select count(*) as unseen_count
from raw._batches
where feed = any(%s) and status = 'loaded' and batch_id <> all(%s)
