-- What customers viewed, put into a basket or wished before the cutoff, on the shop's clock, as purchases are. Of a
-- visitor without a login, and of a customer without a purchase by then, no list is made.
with looked as (
    select
        customer_id,
        stock_code,
        kind::text as kind,
        happened_at at time zone %(timezone)s as looked_at
    from retail.shop_event
    where customer_id is not null
)

select
    looked.customer_id,
    looked.stock_code,
    looked.kind,
    looked.looked_at
from looked
where
    looked.looked_at < %(cutoff)s
    and exists (
        select
        from retail.invoice_line
        where
            invoice_line.customer_id = looked.customer_id
            and invoice_line.invoice_date < %(cutoff)s
    )
