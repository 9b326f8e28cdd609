-- Changes of rules, the newest first, each with up to 5 of the rows that it changed.
select
    rule_change.change_id,
    rule_change.changed_at,
    rule_change.actor,
    rule_change.reason,
    rule_change.undoes,
    undone.change_id as undone_by,
    (
        select count(*)
        from retail.changed_rule
        where changed_rule.change_id = rule_change.change_id
    ) as changed_rows,
    (
        select jsonb_agg(jsonb_build_array(first_rows.rule, first_rows.was, first_rows.is_now))
        from (
            select
                changed_rule.rule,
                changed_rule.was,
                changed_rule.is_now
            from retail.changed_rule
            where changed_rule.change_id = rule_change.change_id
            order by changed_rule.changed_rule_id
            limit 5
        ) as first_rows
    ) as first_rows
from retail.rule_change
left join lateral (
    select change_id
    from retail.rule_change as later
    where later.undoes = rule_change.change_id
    order by change_id desc
    limit 1
) as undone on true
where
    rule_change.change_id < %(before)s
    and (
        %(stock_code)s::text is null
        or exists (
            select
            from retail.changed_rule
            where
                changed_rule.change_id = rule_change.change_id
                and (
                    changed_rule.stock_code = %(stock_code)s
                    or retail.canonical_stock_code(changed_rule.was ->> 'beside') = %(stock_code)s
                    or retail.canonical_stock_code(changed_rule.is_now ->> 'beside') = %(stock_code)s
                )
        )
    )
order by rule_change.change_id desc
limit %(most)s
