-- Every country on a line, by steps from one to the next in the index, so that not every line is read.
with recursive found as (
    select min(country) as country
    from retail.invoice_line
    union all
    select (
        select min(invoice_line.country)
        from retail.invoice_line
        where invoice_line.country > found.country
    ) as country
    from found
    where found.country is not null
)

select country
from found
where country is not null
order by country asc
