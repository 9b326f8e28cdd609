select
    quarantined_line.quarantine_id,
    quarantined_line.batch_id,
    batch_file.name as file,
    quarantined_line.row_number,
    quarantined_line.invoice_no,
    quarantined_line.original,
    quarantined_line.rule_ids,
    quarantined_line.unreadable,
    quarantined_line.readable,
    quarantined_line.state,
    quarantined_line.note,
    quarantined_line.corrected,
    quarantined_line.resolved_by,
    quarantined_line.created_at,
    quarantined_line.resolved_at,
    invoice.lines as missing_from,
    batch_file.mapping,
    used_mapping.yaml as mapping_yaml,
    batch_file.sheets[quarantined_line.sheet_number] as sheet
from raw.quarantined_line
inner join raw.batch_file
    on
        quarantined_line.batch_id = batch_file.batch_id
        and quarantined_line.file_number = batch_file.file_number
left join raw.used_mapping on batch_file.mapping_sha256 = used_mapping.sha256
left join retail.invoice on quarantined_line.invoice_no = invoice.invoice_no
where
    (%(state)s::text is null or quarantined_line.state = %(state)s)
    and (%(rule_id)s::text is null or %(rule_id)s = any(quarantined_line.rule_ids))
    and (%(batch_id)s::bigint is null or quarantined_line.batch_id = %(batch_id)s)
    and quarantined_line.quarantine_id > %(after)s
    and (%(quarantine_ids)s::bigint[] is null or quarantined_line.quarantine_id = any(%(quarantine_ids)s))
order by quarantined_line.quarantine_id asc
limit %(most)s
