-- The products with the highest takings of each week, the best first.
with sold as (
    select
        stock_code as spelled,
        date_trunc('week', invoice_date)::date as week,
        sum(quantity * unit_price) as takings
    from retail.invoice_line
    where
        invoice_date >= %(since)s
        and invoice_date < %(until)s
    group by
        stock_code,
        date_trunc('week', invoice_date)
),

-- materialized, so that each spelling of a code is matched with the patterns once
spelling as materialized (
    select distinct spelled
    from sold
),

product_code as (
    select
        spelled,
        retail.canonical_stock_code(spelled) as stock_code
    from spelling
    where not retail.is_excluded_stock_code(spelled)
),

ranked as (
    select
        sold.week,
        product_code.stock_code,
        row_number() over (
            partition by sold.week
            order by
                sum(sold.takings) desc,
                product_code.stock_code asc
        ) as place
    from sold
    inner join product_code on sold.spelled = product_code.spelled
    group by
        sold.week,
        product_code.stock_code
    having sum(sold.takings) > 0
)

select
    week,
    array_agg(stock_code order by place) as stock_codes
from ranked
where place <= %(most)s
group by week
order by week asc
