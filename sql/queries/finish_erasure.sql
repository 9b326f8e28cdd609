update retail.erasure
set
    state = 'done',
    report = %(report)s,
    finished_at = now()
where erasure_id = %(erasure_id)s
