select
    count(*) as products,
    count(description) as description,
    count(category) as category,
    count(brand) as brand,
    count(price) as price,
    count(stock) as stock,
    count(launched_on) as launched_on,
    count(image_url) as image_url,
    count(distinct category) as categories,
    count(*) filter (where stock <= 0) as sold_out,
    count(missing_since) as missing
from retail.catalogue
