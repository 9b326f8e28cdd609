-- each product that a customer bought, newest first; a line that was a return or a discount is none
select
    retail.canonical_stock_code(stock_code) as stock_code,
    max(invoice_date) as last_bought,
    count(distinct invoice_no) as orders,
    sum(quantity) as pieces
from retail.invoice_line
where
    customer_id = %(customer_id)s
    and quantity > 0
    and unit_price > 0
    and not retail.is_excluded_stock_code(stock_code)
group by retail.canonical_stock_code(stock_code)
order by
    last_bought desc,
    stock_code asc
limit %(most)s
