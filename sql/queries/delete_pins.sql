delete from retail.pinned_product
where pin_id = any(%(pin_ids)s)
