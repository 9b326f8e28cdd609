delete from retail.product_country as rule
using unnest(%(stock_codes)s::text[], %(countries)s::text[]) as given (stock_code, country)
where
    retail.canonical_stock_code(rule.stock_code) = given.stock_code
    and rule.country = given.country
