insert into retail.hidden_product (stock_code, country, until, why, hidden_by)
values (retail.canonical_stock_code(%(stock_code)s), %(country)s, %(until)s, %(why)s, %(actor)s)
