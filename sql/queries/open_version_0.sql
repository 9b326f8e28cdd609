select ml.open_version_0(%(snapshot_id)s, %(cutoff)s, %(actor)s, %(code)s)
