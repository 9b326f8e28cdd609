select
    pinned_product.list_name,
    pinned_product.country,
    pinned_product.position,
    retail.canonical_stock_code(pinned_product.beside) as beside,
    retail.canonical_stock_code(pinned_product.stock_code) as stock_code,
    described_product.stock_code is not null as is_described
from retail.pinned_product
left join retail.described_product
    on retail.canonical_stock_code(pinned_product.stock_code) = described_product.stock_code
where
    pinned_product.starts_on <= %(today)s
    and (pinned_product.ends_on is null or pinned_product.ends_on > %(today)s)
order by
    pinned_product.position,
    pinned_product.pin_id
