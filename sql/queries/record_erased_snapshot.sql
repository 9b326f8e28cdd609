update ml.snapshot
set
    sha256 = %(sha256)s,
    customers = %(customers)s,
    url = %(url)s,
    erasures = erasures + 1
where snapshot_id = %(snapshot_id)s
