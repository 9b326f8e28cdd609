delete from retail.refused_catalogue_row
where load_id not in (
    select load_id
    from retail.catalogue_load
    order by load_id desc
    limit 10
)
