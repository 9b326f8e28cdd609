select nextval(pg_get_serial_sequence('ml.snapshot', 'snapshot_id')) as snapshot_id
