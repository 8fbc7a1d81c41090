select
    count(*) filter (where state = 'open') as open_count,
    count(*) filter (where state = 'healed') as healed_count,
    count(*) filter (where state = 'replayed') as replayed_count,
    count(*) filter (where state = 'accepted') as accepted_count
from {marts}.rejected_rows
