-- The pages look up what one product sold and what one customer bought. Without these, each look reads every line.
create index invoice_line_by_product
on retail.invoice_line (retail.canonical_stock_code(stock_code), invoice_date);
create index invoice_line_by_customer
on retail.invoice_line (customer_id, invoice_date, invoice_no, line_number)
where customer_id is not null;
