-- A customer's events go, and so do those of their sessions from before they logged in.
create temporary table erased_session on commit drop as
select session
from retail.shop_event
where
    customer_id = %(customer_id)s
    and session is not null
union
select decode(original ->> 'session', 'hex')
from raw.quarantined_event
where
    original ->> 'customer_id' = %(customer_id)s
    and original ? 'session';

delete from retail.shop_event
where customer_id = %(customer_id)s;

delete from retail.shop_event
using erased_session
where
    shop_event.customer_id is null
    and shop_event.session = erased_session.session;

delete from raw.quarantined_event
where original ->> 'customer_id' = %(customer_id)s;

delete from raw.quarantined_event
using erased_session
where
    not quarantined_event.original ? 'customer_id'
    and quarantined_event.original ->> 'session' = encode(erased_session.session, 'hex')
