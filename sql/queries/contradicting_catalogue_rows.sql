-- Rows of one product that say different things of it: none of them counts.
with contradicted as (
    select
        stock_code,
        min(row_number) as first_row
    from catalogue_row
    group by stock_code
    having count(distinct row(description, category, brand, price, stock, launched_on, image_url)) > 1
),

taken_out as (
    delete from catalogue_row
    using contradicted
    where catalogue_row.stock_code = contradicted.stock_code
    returning catalogue_row.*
)

select
    place,
    stock_code,
    array_agg(row_number) over (partition by stock_code) as row_numbers
from taken_out
order by place
