-- What counts as a purchase, before the cutoff: one row for each line of an invoice that is one.
--
-- A return takes its quantity off the same customer's earlier purchases of that product, latest first. So the
-- pieces that a customer holds of a product are a stack: `held` is its height, never below zero. A purchase lifts it
-- from held_before to held; it is gone from the first later event that leaves the stack at held_before or lower.
with spelling as materialized (
    select distinct stock_code
    from retail.invoice_line
),

-- materialized, so that patterns are matched with each code once and not with each line
product_code as (
    select
        stock_code,
        retail.canonical_stock_code(stock_code) as product_code
    from spelling
    where not retail.is_excluded_stock_code(stock_code)
),

-- purchases, and what may take them off: cancellations and other negative quantities
event as (
    select
        invoice_line.customer_id,
        product_code.product_code,
        invoice_line.invoice_no,
        invoice_line.line_number,
        invoice_line.invoice_date,
        invoice_line.quantity,
        invoice_line.unit_price,
        invoice_line.country,
        invoice_line.description,
        invoice_line.quantity > 0 as is_purchase
    from retail.invoice_line
    inner join product_code on invoice_line.stock_code = product_code.stock_code
    where
        invoice_line.invoice_date < %(cutoff)s
        and (
            invoice_line.quantity < 0
            or (
                invoice_line.unit_price > 0
                and invoice_line.invoice_no not ilike 'c%%'
            )
        )
),

-- customers and products of which something came back; of all others, nothing has to be worked out
returned_pair as (
    select distinct
        customer_id,
        product_code
    from event
    where
        customer_id is not null
        and not is_purchase
),

-- at one instant, a purchase comes before a return
ordered as (
    select
        event.*,
        row_number() over ledger as position,
        sum(event.quantity) over ledger as total
    from event
    inner join returned_pair
        on
            event.customer_id = returned_pair.customer_id
            and event.product_code = returned_pair.product_code
    window ledger as (
        partition by event.customer_id, event.product_code
        order by
            event.invoice_date asc,
            event.is_purchase desc,
            event.invoice_no collate "C" asc,
            event.line_number asc
    )
),

-- the running total, lifted by as much as it ever went below zero: returns of more than was held take off nothing
held as (
    select
        *,
        total - least(
            0,
            min(total) over (
                partition by customer_id, product_code
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
        min(later.invoice_date) as returned_at
    from held as purchase
    inner join held as later
        on
            purchase.customer_id = later.customer_id
            and purchase.product_code = later.product_code
            and purchase.position < later.position
            and not later.is_purchase
            and later.held <= purchase.held - purchase.quantity
    where purchase.is_purchase
    group by
        purchase.invoice_no,
        purchase.line_number
)

select
    event.customer_id,
    event.product_code as stock_code,
    event.invoice_no,
    event.invoice_date as purchased_at,
    event.quantity,
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
