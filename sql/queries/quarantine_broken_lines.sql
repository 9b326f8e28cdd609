-- The critical rules that a row can break, by their ids in expectations/invoices.json. The caller compares the
-- numbers of lines with those that Great Expectations counted.
insert into raw.quarantined_line (
    batch_id,
    line_number,
    file_number,
    sheet_number,
    row_number,
    invoice_no,
    original,
    corrects,
    rule_ids,
    unreadable,
    readable
)
-- invoices of which some lines name the customer, and some do not
with half_named_invoice as materialized (
    select invoice_no
    from raw.landed_line
    where
        batch_id = %(batch_id)s
        and left_out is null
        -- many a file has no guests, and then no line has to be grouped
        and invoice_no in (
            select nameless.invoice_no
            from raw.landed_line as nameless
            where
                nameless.batch_id = %(batch_id)s
                and nameless.left_out is null
                and nameless.customer_id is null
        )
    group by invoice_no
    having
        count(customer_id) > 0
        or bool_or('customer_id' = any(unreadable))
),

judged as (
    select
        landed_line.*,
        array_remove(
            array[
                case when unreadable is not null then 'cells_are_readable' end,
                case when unreadable is null and landed_line.invoice_no is null then 'invoice_no_is_given' end,
                case when unreadable is null and stock_code is null then 'stock_code_is_given' end,
                case when unreadable is null and invoice_date is null then 'invoice_date_is_given' end,
                case when unreadable is null and quantity is null then 'quantity_is_given' end,
                case when unreadable is null and unit_price is null then 'unit_price_is_given' end,
                case when quantity = 0 then 'quantity_is_not_zero' end,
                case when unit_price < 0 then 'unit_price_is_not_negative' end,
                case
                    when retail.is_cancellation(landed_line.invoice_no) and quantity > 0
                        then 'cancellation_takes_off'
                end,
                case when invoice_date < '2000-01-01' then 'date_is_not_before_the_shop' end,
                case when invoice_date > %(tomorrow)s then 'date_is_not_in_the_future' end,
                case
                    when
                        corrects is not null
                        and not exists (
                            select 1 from raw.quarantined_line
                            where quarantine_id = landed_line.corrects
                        )
                        then 'correction_is_known'
                end,
                case
                    when
                        unreadable is null
                        and customer_id is null
                        and (
                            half_named_invoice.invoice_no is not null
                            or (
                                -- it would join the stored lines
                                corrects is not null
                                and exists (
                                    select 1 from retail.invoice_line
                                    where
                                        invoice_line.invoice_no = landed_line.invoice_no
                                        and invoice_line.customer_id is not null
                                )
                            )
                            or (
                                -- so would a part; one that is stored as a guest's already may come again
                                corrects is null
                                and landed_line.file_number in (
                                    select batch_file.file_number
                                    from raw.batch_file
                                    where
                                        batch_file.batch_id = %(batch_id)s
                                        and batch_file.adds_parts
                                )
                                and (
                                    select count(*) > 0 and count(*) = count(invoice_line.customer_id)
                                    from retail.invoice_line
                                    where invoice_line.invoice_no = landed_line.invoice_no
                                )
                            )
                        )
                        then 'customer_is_on_every_line'
                end
            ],
            null
        ) as rule_ids,
        raw.cells_of(landed_line) as cells
    from raw.landed_line
    left join half_named_invoice on landed_line.invoice_no = half_named_invoice.invoice_no
    where
        batch_id = %(batch_id)s
        and left_out is null
)

select
    batch_id,
    line_number,
    file_number,
    sheet_number,
    row_number,
    invoice_no,
    cells as original,
    corrects,
    rule_ids,
    unreadable,
    case
        when unreadable is not null
            then jsonb_strip_nulls(
                jsonb_build_object(
                    'invoice_no', invoice_no,
                    'stock_code', stock_code,
                    'quantity', trim_scale(quantity)::text,
                    'invoice_date', to_char(invoice_date, 'YYYY-MM-DD HH24:MI:SS.MS'),
                    'unit_price', trim_scale(unit_price)::text
                )
            )
    end as readable
from judged
where cardinality(rule_ids) > 0
