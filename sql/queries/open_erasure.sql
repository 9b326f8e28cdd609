-- Opens an erasure, or continues one that a killed run had opened. The customer's country is removed too if fewer than
-- five other customers bought there, because it would identify the customer.
insert into retail.erasure (customer_hash, key_check, until, without_country, requested_by)
select
    %(customer_hash)s as customer_hash,
    %(key_check)s as key_check,
    %(until)s as until,
    coalesce(
        bool_or(others.customers < 5),
        -- none of the customer's lines are left: decide as the last time
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
