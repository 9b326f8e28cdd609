-- A customer's lines become a guest's: sales figures, popularity and baskets stay the same. The canonical order of an
-- invoice's lines and its hash change with them. So sending the same file again changes nothing, and no old hash is
-- left from which somebody could find out who the customer was.
create temporary table erased_invoice on commit drop as
select distinct invoice_no
from retail.invoice_line
where customer_id = %(customer_id)s;

create temporary table erased_line on commit drop as
select
    invoice_line.invoice_no,
    invoice_line.stock_code,
    invoice_line.description,
    invoice_line.quantity,
    invoice_line.invoice_date,
    invoice_line.unit_price,
    nullif(invoice_line.customer_id, %(customer_id)s) as customer_id,
    case
        when invoice_line.customer_id = %(customer_id)s and %(without_country)s then null
        else invoice_line.country
    end as country,
    invoice_line.batch_id
from retail.invoice_line
inner join erased_invoice on invoice_line.invoice_no = erased_invoice.invoice_no;

delete from retail.invoice_line
using erased_invoice
where invoice_line.invoice_no = erased_invoice.invoice_no;

with ordered as (
    select
        *,
        row_number() over (
            partition by invoice_no
            order by
                stock_code collate "C" asc,
                invoice_date asc,
                quantity asc,
                unit_price asc,
                length(customer_id) asc,
                customer_id collate "C" asc,
                description collate "C" asc,
                country collate "C" asc
        )::integer as line_number
    from erased_line
),

written as (
    insert into retail.invoice_line (
        invoice_no,
        line_number,
        stock_code,
        description,
        quantity,
        invoice_date,
        unit_price,
        customer_id,
        country,
        batch_id
    )
    select
        invoice_no,
        line_number,
        stock_code,
        description,
        quantity,
        invoice_date,
        unit_price,
        customer_id,
        country,
        batch_id
    from ordered
)

update retail.invoice
set sha256 = hashed.sha256
from (
    select
        invoice_no,
        retail.invoice_sha256(
            string_agg(
                retail.line_content(
                    stock_code, description, quantity, invoice_date, unit_price, customer_id, country
                ),
                e'\x1d'
                order by line_number
            )
        ) as sha256
    from ordered
    group by invoice_no
) as hashed
where invoice.invoice_no = hashed.invoice_no;

-- lines that are landed and not merged yet
update raw.landed_line
set
    customer_id = null,
    country = case when %(without_country)s then null else country end
where customer_id = %(customer_id)s
