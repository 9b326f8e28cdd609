-- A new erasure, or the one that a run which was killed has opened. Their country goes too where fewer than five
-- others bought there: it would tell them apart.
insert into retail.erasure (customer_hash, key_check, until, without_country, requested_by)
select
    %(customer_hash)s as customer_hash,
    %(key_check)s as key_check,
    %(until)s as until,
    coalesce(
        bool_or(others.customers < 5),
        -- nothing of them is here any more: as it was the last time
        (
            select earlier.without_country
            from retail.erasure as earlier
            where earlier.customer_hash = %(customer_hash)s
            order by earlier.erasure_id desc
            limit 1
        ),
        false
    ) as without_country,
    %(requested_by)s as requested_by
from (
    select count(distinct other.customer_id) as customers
    from (
        select distinct country
        from retail.invoice_line
        where
            customer_id = %(customer_id)s
            and country is not null
    ) as theirs
    left join retail.invoice_line as other
        on
            theirs.country = other.country
            and other.customer_id <> %(customer_id)s
    group by theirs.country
) as others
on conflict (customer_hash) where state = 'open' do update
    set until = excluded.until
returning
    erasure_id,
    without_country
