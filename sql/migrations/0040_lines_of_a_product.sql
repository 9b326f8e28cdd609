-- The pages look up what one product sold and what one customer bought. Without these, each look reads every line. One
-- column each: a list of places for each value takes 20 bytes a line, and with the date behind it more than 100.
create index invoice_line_by_product on retail.invoice_line (retail.canonical_stock_code(stock_code));
create index invoice_line_by_customer on retail.invoice_line (customer_id)
where customer_id is not null;
