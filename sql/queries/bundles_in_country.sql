-- How many invoices of a country have all products of a bundle. What came back counts here, and not in the bundle.
with member as (
    select
        bundle.place,
        bundle.as_of,
        product.stock_code
    from retail.bundle
    cross join lateral unnest(bundle.stock_codes) as product (stock_code)
),

bought as (
    select distinct
        stock_code,
        invoice_no,
        invoice_date
    from retail.purchase_or_return
    where
        is_purchase
        and country = %(country)s
        and stock_code in (select stock_code from member)
),

whole as (
    select
        member.place,
        bought.invoice_no
    from member
    inner join bought on member.stock_code = bought.stock_code and member.as_of > bought.invoice_date
    group by
        member.place,
        bought.invoice_no
    having
        count(distinct bought.stock_code)
        = (select cardinality(bundle.stock_codes) from retail.bundle where bundle.place = member.place)
)

select
    place,
    count(*) as invoices
from whole
group by place
order by place
