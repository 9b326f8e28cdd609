-- What a product of the shop is, in one place: also one that only the catalogue knows, because it was never sold.
create view retail.known_product as
select stock_code
from retail.product
union all
select stock_code
from retail.catalogue
union all
select retail.canonical_stock_code(stock_code) as stock_code
from retail.invoice_line;
comment on view retail.known_product is
'Stock codes of products that are described, in the catalogue, or were sold, in canonical spelling; each at least '
'once. Asked for some codes, it finds them by indexes.';

create view retail.described_product as
select
    stock_code,
    description
from retail.product
union all
select
    stock_code,
    description
from retail.catalogue
where
    description is not null
    and not exists (
        select
        from retail.product
        where product.stock_code = catalogue.stock_code
    );
comment on view retail.described_product is
'Products with their description, each once: that of the invoices, or that of the catalogue where they have none.';
