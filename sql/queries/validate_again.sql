-- takes back the result of a batch's validation, if another batch was merged since: stored lines may have changed
update raw.batch
set
    report = null,
    validated_at = null
where
    batch_id = %(batch_id)s
    and status = 'landed'
    and quarantined_at is null
    and exists (
        select 1
        from raw.batch as other
        where
            other.status = 'merged'
            and other.finished_at > batch.validated_at
    )
returning batch_id
