insert into ml.gate_decision (
    version,
    promote,
    reasons,
    details
)
values (
    %(version)s,
    %(promote)s,
    %(reasons)s,
    %(details)s
)
on conflict (version) do update
    set
        promote = excluded.promote,
        reasons = excluded.reasons,
        details = excluded.details,
        decided_at = now()
