select batch_id, verdict, finding, accepted_because, accepted_at
from {marts}.rejected_shares
where verdict <> 'pass'
order by array_position(array['fail', 'warn', 'accepted'], verdict), batch_id desc, measured
