-- The interactions before the cutoff: one row for each line of an invoice that is a purchase.
--
-- A return takes its quantity off the same customer's earlier purchases of that product, the latest first. So the
-- pieces that a customer holds of a product are a stack: `held` is its height, never below zero. A purchase of n pieces
-- lifts it from held - n to held. The first later return that brings it down to held - n or lower takes the purchase
-- off.
with event as (
    select *
    from retail.purchase_or_return
    where invoice_date < %(cutoff)s
),

-- the customers and products of which something came back; the others need no ledger
returned_pair as (
    select distinct
        customer_id,
        stock_code
    from event
    where
        customer_id is not null
        and not is_purchase
),

-- at the same instant, a purchase comes before a return
ordered as (
    select
        event.*,
        row_number() over ledger as position,
        sum(event.quantity) over ledger as total
    from event
    inner join returned_pair
        on
            event.customer_id = returned_pair.customer_id
            and event.stock_code = returned_pair.stock_code
    window ledger as (
        partition by event.customer_id, event.stock_code
        order by
            event.counts_at asc,
            event.is_purchase desc,
            event.invoice_no collate "C" asc,
            event.line_number asc
    )
),

-- the running total, lifted by as much as it ever was below zero: a return of more than was held takes off no more
held as (
    select
        *,
        total - least(
            0,
            min(total) over (
                partition by customer_id, stock_code
                order by position asc
                rows between unbounded preceding and current row
            )
        ) as held
    from ordered
),

returned as (
    select
        purchase.invoice_no,
        purchase.line_number,
        -- a return that is dated without a time would be before the day's purchases
        greatest(min(later.invoice_date), purchase.invoice_date) as returned_at
    from held as purchase
    inner join held as later
        on
            purchase.customer_id = later.customer_id
            and purchase.stock_code = later.stock_code
            and purchase.position < later.position
            and not later.is_purchase
            and later.held <= purchase.held - purchase.quantity
    where purchase.is_purchase
    group by
        purchase.invoice_no,
        purchase.line_number,
        purchase.invoice_date
)

select
    event.customer_id,
    event.stock_code,
    event.invoice_no,
    event.invoice_date as purchased_at,
    event.quantity::double precision as quantity,
    event.unit_price::double precision as unit_price,
    event.country,
    event.description,
    returned.returned_at
from event
left join returned
    on
        event.invoice_no = returned.invoice_no
        and event.line_number = returned.line_number
where event.is_purchase
