insert into ml.drift_report (
    snapshot_id,
    period,
    bought_from,
    bought_until,
    figures,
    findings
)
values (
    %(snapshot_id)s,
    %(period)s,
    %(bought_from)s,
    %(bought_until)s,
    %(figures)s,
    %(findings)s
)
on conflict (snapshot_id) do update
    set
        period = excluded.period,
        bought_from = excluded.bought_from,
        bought_until = excluded.bought_until,
        figures = excluded.figures,
        findings = excluded.findings,
        measured_at = now()
