select batch_id
from raw.batch
where status <> 'rejected'
order by batch_id desc
limit 1
