update ml.gate_decision
set
    promote = false,
    -- what spoke for it no longer counts
    reasons = case when promote then %(objections)s::text[] else reasons || %(objections)s::text[] end,
    decided_at = now()
where version = %(version)s
