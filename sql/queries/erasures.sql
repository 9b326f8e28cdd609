-- The erased customers, by hash, each with the newest erasure.
select
    customer_hash,
    max(key_check) as key_check,
    max(until) as until,
    bool_or(without_country) as without_country
from retail.erasure
group by customer_hash
