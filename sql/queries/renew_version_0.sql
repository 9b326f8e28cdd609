select ml.renew_version_0(%(snapshot_id)s, %(cutoff)s, %(code)s)
