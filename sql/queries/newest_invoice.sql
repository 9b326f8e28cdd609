-- The newest line. The live lists know the lines before as_of, so mostly it is among those of the day before and later
-- ones, which the index on dates finds. All lines are read if there are none.
select
    coalesce(
        (
            select max(invoice_date)
            from retail.invoice_line
            where
                invoice_date >= (
                    select max(as_of) - interval '1 day'
                    from ml.publication
                    where state = 'published'
                )
        ),
        (select max(invoice_date) from retail.invoice_line)
    ) as newest
