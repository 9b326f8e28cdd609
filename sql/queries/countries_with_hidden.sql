-- Every country in which a product is or was hidden.
select distinct country
from retail.hidden_product
where country is not null
order by country
