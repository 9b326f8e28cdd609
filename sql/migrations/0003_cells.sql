-- A landed line as text, by column: what a person sees of it in quarantine, and how the same line is known again.
create function raw.cells_of(line raw.landed_line) returns jsonb
language sql stable parallel safe
return coalesce(
    line.original,
    jsonb_strip_nulls(
        jsonb_build_object(
            'invoice_no', line.invoice_no,
            'stock_code', line.stock_code,
            'description', line.description,
            'quantity', line.quantity::text,
            'invoice_date', to_char(line.invoice_date, 'YYYY-MM-DD HH24:MI:SS.MS'),
            'unit_price', trim_scale(line.unit_price)::text,
            'customer_id', line.customer_id::text,
            'country', line.country
        )
    )
);
