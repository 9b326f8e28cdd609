insert into raw.quarantine_request (
    action,
    quarantine_ids,
    changes,
    by_workbook,
    workbook,
    actor,
    reason,
    state,
    batch_id,
    ended_at
)
values (
    %(action)s,
    %(quarantine_ids)s,
    %(changes)s,
    %(workbook)s is not null,
    %(workbook)s,
    coalesce(%(actor)s, session_user),
    %(reason)s,
    %(state)s,
    %(batch_id)s,
    case when %(state)s in ('waiting', 'running') then null else now() end
)
returning request_id
