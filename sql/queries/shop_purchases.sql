-- The products that a customer bought, the last bought first.
select
    stock_code,
    max(invoice_date) as last_bought,
    count(distinct invoice_no) as orders,
    trim_scale(sum(quantity)) as pieces
from retail.purchase_or_return
where
    customer_id = %(customer_id)s
    and is_purchase
group by stock_code
order by
    last_bought desc,
    stock_code asc
limit %(most)s
