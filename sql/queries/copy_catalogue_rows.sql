copy catalogue_row (
    place, sheet, row_number, code, description, category, brand, price, stock, launched_on, image_url
) from stdin with (format csv)
