-- The change that this transaction made; no row if it changed nothing.
select change_id
from retail.rule_change
where
    transaction_id = pg_current_xact_id()
    and changed_at = now()
